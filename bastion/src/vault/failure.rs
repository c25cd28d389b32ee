//! A failure that answers all who waited for the attempt that failed: where each takes long, trying one after the other
//! would put them in each other's way, and in others'.

use tokio::time::Instant;

use crate::model::problem::Problem;

/// The last failure of attempts that callers wait for in turn. `K`: subject of the attempt.
#[derive(Debug)]
pub(crate) struct SharedFailure<K> {
    ended: Instant,
    subject: K,
    problem: Problem,
}

impl<K: PartialEq> SharedFailure<K> {
    /// A failure of an attempt that has ended just now.
    pub(crate) fn new(subject: K, problem: &Problem) -> Self {
        Self {
            ended: Instant::now(),
            subject,
            problem: problem.clone(),
        }
    }

    /// The problem for who has asked for the same `since` then, before that attempt ended.
    pub(crate) fn answer(&self, subject: &K, since: Instant) -> Option<Problem> {
        let is_answer = self.ended > since && self.subject == *subject;
        is_answer.then(|| self.problem.clone())
    }
}
