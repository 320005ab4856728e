//! Tasks of a simulated process: futures that are polled when something has happened, in virtual time and in a fixed order.
//! So what a shell writes as one course of awaits is written in the same way here, and a kill may hit it between any two of
//! them.

use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

#[derive(Debug)]
struct Shared<T> {
    value: Option<T>,
    sender_is_gone: bool,
}

/// Sends one value to a task.
#[derive(Debug)]
pub struct Sender<T>(Rc<RefCell<Shared<T>>>);

/// Receives the value; nothing when the sender was dropped without one.
#[derive(Debug)]
pub struct Receiver<T>(Rc<RefCell<Shared<T>>>);

/// Both ends.
#[must_use]
pub fn oneshot<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Rc::new(RefCell::new(Shared {
        value: None,
        sender_is_gone: false,
    }));
    (Sender(shared.clone()), Receiver(shared))
}

impl<T> Sender<T> {
    /// Sends it.
    pub fn send(self, value: T) {
        self.0.borrow_mut().value = Some(value);
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.borrow_mut().sender_is_gone = true;
    }
}

impl<T> Future for Receiver<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<T>> {
        let mut shared = self.0.borrow_mut();
        match shared.value.take() {
            Some(value) => Poll::Ready(Some(value)),
            None if shared.sender_is_gone => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

/// The tasks of one process. A kill drops them.
#[derive(Default)]
pub struct Tasks(Vec<Pin<Box<dyn Future<Output = ()>>>>);

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tasks").field(&self.0.len()).finish()
    }
}

impl Tasks {
    /// Begins a task. It first runs when the tasks are polled.
    pub fn spawn(&mut self, task: impl Future<Output = ()> + 'static) {
        self.0.push(Box::pin(task));
    }

    /// Lets each task go on as far as it can.
    pub fn poll(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        self.0.retain_mut(|task| task.as_mut().poll(&mut context).is_pending());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_task_goes_on_when_its_value_is_there_and_hears_of_a_sender_that_is_gone() {
        let (first, first_received) = oneshot();
        let (second, second_received) = oneshot::<u32>();
        let heard = Rc::new(Cell::new(None));
        let told = heard.clone();
        let mut tasks = Tasks::default();
        tasks.spawn(async move {
            let value = first_received.await;
            told.set(Some((value, second_received.await)));
        });
        tasks.poll();
        first.send(7);
        tasks.poll();
        assert_eq!(heard.get(), None);
        drop(second);
        tasks.poll();
        assert_eq!(heard.get(), Some((Some(7), None)));
        assert_eq!(format!("{tasks:?}"), "Tasks(0)");
    }
}
