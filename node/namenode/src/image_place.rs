//! The place for the one image that is saved or received, and the events that those who wait for an image wait for.

use hathi_namesystem::save_namespace::{Canceler, ImagePurpose, ImageSlot};
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How long `saveNamespace` waits for another image that is under way: as long as `dfsadmin` waits for its answer.
const OTHER_IMAGE_WAIT: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Default)]
pub struct ImagePlace {
    under_way: Mutex<ImageSlot>,
    changed: Condvar,
    /// The same events, for those who wait without a thread.
    events: Notify,
}

impl ImagePlace {
    /// Takes the place if it is free, or if the image that has it gives way.
    pub fn begin(self: &Arc<Self>, purpose: ImagePurpose) -> Option<ImageUnderWay> {
        self.begin_or_wait(purpose, Duration::ZERO)
    }

    /// The same for `saveNamespace`, which waits for an image that is being saved or received, as Hadoop's does
    /// (`FSNamesystem.cpLock`). A standby makes one whenever it likes, so the administrator can't know when to ask.
    pub fn begin_when_free(self: &Arc<Self>, purpose: ImagePurpose) -> Option<ImageUnderWay> {
        let is_asked_for = purpose == ImagePurpose::SaveNamespace;
        self.begin_or_wait(purpose, if is_asked_for { OTHER_IMAGE_WAIT } else { Duration::ZERO })
    }

    fn begin_or_wait(self: &Arc<Self>, purpose: ImagePurpose, patience: Duration) -> Option<ImageUnderWay> {
        let give_up = Some(Instant::now() + patience);
        let canceler = self.wait(give_up, |under_way| under_way.begin(purpose))?;
        Some(ImageUnderWay {
            place: self.clone(),
            canceler,
        })
    }

    /// Waits until `look` finds something. It looks again after each [`ImagePlace::look_again`], and must not use this
    /// place. `None` when the time is over, if it is limited.
    pub fn wait_until<T>(&self, give_up: Option<Instant>, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        self.wait(give_up, |_| look())
    }

    /// The same for who has no thread of its own to wait with. `None` when the time is over.
    pub async fn wait_in_task<T>(&self, patience: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        let found = async {
            loop {
                // Before the look, because otherwise an event between the look and the wait would be missed.
                let event = self.events.notified();
                if let Some(found) = look() {
                    return found;
                }
                event.await;
            }
        };
        tokio::time::timeout(patience, found).await.ok()
    }

    fn wait<T>(&self, give_up: Option<Instant>, mut look: impl FnMut(&mut ImageSlot) -> Option<T>) -> Option<T> {
        let mut under_way = self.under_way.lock();
        loop {
            let found = look(&mut under_way);
            if found.is_some() || give_up.is_some_and(|give_up| Instant::now() >= give_up) {
                return found;
            }
            match give_up {
                Some(give_up) => drop(self.changed.wait_until(&mut under_way, give_up)),
                None => self.changed.wait(&mut under_way),
            }
        }
    }

    /// Something has changed on which it depends whether an image may be published: what is proven, the role, or what
    /// is known of the active's namespace.
    pub fn look_again(&self) {
        // With the lock, because otherwise who has just looked and does not wait yet would miss it.
        let _under_way = self.under_way.lock();
        self.tell();
    }

    /// A checkpoint of the standby is given up.
    pub fn cancel_checkpoint(&self) {
        let under_way = self.under_way.lock();
        under_way.cancel_checkpoint();
        self.tell();
    }

    fn tell(&self) {
        self.changed.notify_all();
        self.events.notify_waiters();
    }

    /// Whether no image is saved or received.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.under_way.lock().is_free()
    }

    /// Whether a peer is sending an image.
    #[must_use]
    pub fn is_receiving(&self) -> bool {
        self.under_way.lock().is_receiving()
    }
}

/// The image that has the place. The place is freed whenever this is dropped, also together with the handler of a request
/// whose sender is gone.
pub struct ImageUnderWay {
    place: Arc<ImagePlace>,
    canceler: Canceler,
}

impl ImageUnderWay {
    /// For stopping it from elsewhere.
    #[must_use]
    pub fn canceler(&self) -> &Canceler {
        &self.canceler
    }
}

impl Drop for ImageUnderWay {
    fn drop(&mut self) {
        let mut under_way = self.place.under_way.lock();
        under_way.end(&self.canceler);
        self.place.tell();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Long enough for it to be an error.
    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn an_administrator_waits_for_an_image_that_is_under_way() {
        let place = Arc::new(ImagePlace::default());
        let other = place.begin(ImagePurpose::Transfer).unwrap();
        let standby = place.begin_when_free(ImagePurpose::Checkpoint);
        assert!(standby.is_none(), "a standby tries again by itself");
        let waiting = place.clone();
        let asked = std::thread::spawn(move || waiting.begin_when_free(ImagePurpose::SaveNamespace).is_some());
        drop(other);
        assert!(asked.join().unwrap(), "it does not wait");
        assert!(place.is_free());
    }

    #[test]
    fn who_waits_looks_after_each_event_and_not_in_between() {
        let place = Arc::new(ImagePlace::default());
        let (looked, looks) = mpsc::channel();
        let waiting = place.clone();
        let waiter = std::thread::spawn(move || {
            let mut times = 0;
            waiting.wait_until(Some(Instant::now() + PATIENCE), || {
                times += 1;
                looked.send(times).unwrap();
                (times == 3).then_some(times)
            })
        });
        assert_eq!(looks.recv_timeout(PATIENCE), Ok(1));
        place.look_again();
        assert_eq!(looks.recv_timeout(PATIENCE), Ok(2));
        // To cancel is an event, too.
        place.cancel_checkpoint();
        assert_eq!(waiter.join().unwrap(), Some(3));
    }

    #[tokio::test]
    async fn a_task_that_waits_looks_after_each_event_and_not_in_between() {
        let place = ImagePlace::default();
        let times = std::cell::Cell::new(0);
        let waiter = place.wait_in_task(PATIENCE, || {
            times.set(times.get() + 1);
            (times.get() == 4).then(|| times.get())
        });
        let events = async {
            for looks in 1..4 {
                assert_eq!(times.get(), looks);
                tokio::task::yield_now().await;
                assert_eq!(times.get(), looks, "nothing has happened");
                place.look_again();
                tokio::task::yield_now().await;
            }
        };
        let (found, ()) = tokio::join!(biased; waiter, events);
        assert_eq!(found, Some(4));
        assert_eq!(place.wait_in_task(Duration::ZERO, || None::<()>).await, None);
        assert_eq!(place.wait_in_task(Duration::ZERO, || Some(1)).await, Some(1));
    }

    #[test]
    fn the_end_of_the_time_ends_the_wait() {
        let place = ImagePlace::default();
        assert_eq!(place.wait_until(Some(Instant::now()), || None::<()>), None);
        assert_eq!(place.wait_until(Some(Instant::now()), || Some(1)), Some(1));
    }
}
