//! How DataNodes and clients reach the NameNodes, and what the rules look at in them. There are two worlds: the one of this
//! module's parent, in which a call is served at once, and the whole cluster ([`crate::cluster`]), in which it travels.

use super::World;
use bytes::Bytes;
use hathi_blockmanager::Now;
use hathi_formats::exceptions::RemoteException;
use hathi_namespace::Namespace;
use hathi_namesystem::Namesystem;
use prost::Message;

/// What a NameNode answers.
pub(crate) type Answer = Result<Bytes, RemoteException>;

/// A call of a writing client.
#[derive(Clone, Debug)]
pub(crate) struct ClientCall {
    /// The file that it is about: each has one client at a time.
    pub(crate) file: usize,
    /// The client, which is another one each time.
    pub(crate) client: u64,
    /// Its number. A repetition has the same.
    pub(crate) call_id: u64,
    /// The method.
    pub(crate) method: &'static str,
    /// The encoded request.
    pub(crate) body: Bytes,
}

/// A call that may have been served without its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WriterCallError {
    /// No answer yet, or none at all, or one that says to ask again, or another NameNode.
    Again,
    /// Refused.
    Refused(RemoteException),
}

/// The NameNodes of a world.
pub(crate) trait NameNodes {
    /// Number of NameNodes.
    fn count(&self) -> usize;

    /// Whether a NameNode's process lives, and a DataNode and it can talk to each other.
    fn reaches(&self, node: usize, at: usize) -> bool;

    /// A client's call, which is made once more as long as nothing came of it.
    fn call(&mut self, call: ClientCall, now: Now) -> Option<Answer>;

    /// Whether the last call of a file's client that was answered had been sent more than once.
    fn was_repeated(&self, file: usize) -> bool;

    /// The client of a file is gone, and waits for nothing any more.
    fn give_up(&mut self, file: usize);

    /// A client's read that is answered at once or not at all.
    fn read(&mut self, method: &'static str, body: Bytes, now: Now) -> Option<Answer>;

    /// A DataNode's call to a NameNode of any role.
    fn tell(&mut self, node: usize, at: usize, method: &'static str, body: Bytes, now: Now) -> Answer;

    /// The same, if it is a heartbeat, whose answer may have to wait: `None` until it comes to [`Self::late_answer`].
    fn heartbeat(&mut self, node: usize, at: usize, body: Bytes, now: Now) -> Option<Answer>;

    /// The answer to a heartbeat that had to wait. An exception when it will never come.
    fn late_answer(&mut self, node: usize, at: usize) -> Option<Answer>;

    /// The NameNode that is active, if all that it has logged will stay.
    fn active(&self) -> Option<usize>;

    /// Looks at a NameNode's state.
    fn look<T>(&self, at: usize, look: impl FnOnce(&Namesystem) -> T) -> T;

    /// Looks at the namespace that all edits make which will stay.
    fn settled<T>(&self, look: impl FnOnce(&Namespace) -> T) -> Option<T>;

    /// Whether the DataNode has been silent at a NameNode for as long as it takes to count as dead.
    fn takes_for_dead(&self, at: usize, node: usize, now: Now) -> bool;
}

impl<N: NameNodes> World<N> {
    /// The client's call to the active.
    pub(super) fn call<M: Message + Default>(
        &mut self,
        file: usize,
        (client, call_id): (u64, u64),
        method: &'static str,
        request: &impl Message,
    ) -> Result<M, WriterCallError> {
        let answer = self.call_surely(file, (client, call_id), method, request);
        if self.unlucky(40) {
            self.say(|| format!("the answer to {method} is lost"));
            return Err(WriterCallError::Again);
        }
        answer
    }

    /// The same, of which the answer is not lost.
    pub(super) fn call_surely<M: Message + Default>(
        &mut self,
        file: usize,
        (client, call_id): (u64, u64),
        method: &'static str,
        request: &impl Message,
    ) -> Result<M, WriterCallError> {
        let call = ClientCall {
            file,
            client,
            call_id,
            method,
            body: Bytes::from(request.encode_to_vec()),
        };
        match self.namenodes.call(call, self.now) {
            None => Err(WriterCallError::Again),
            Some(Ok(body)) => Ok(M::decode(body).expect("an answer can be read")),
            Some(Err(refusal)) => {
                self.say(|| format!("{method} is refused: {refusal}"));
                Err(WriterCallError::Refused(refusal))
            }
        }
    }

    /// A DataNode's call to a NameNode of any role.
    pub(super) fn call_from_datanode<M: Message + Default>(
        &mut self,
        (node, at): (usize, usize),
        method: &'static str,
        request: &impl Message,
    ) -> Result<M, RemoteException> {
        let body = Bytes::from(request.encode_to_vec());
        let answer = self.namenodes.tell(node, at, method, body, self.now)?;
        Ok(M::decode(answer).expect("an answer can be read"))
    }
}
