//! What a renewal's end brings besides: copies of the token, and the deletion of what is dead.

use super::Daemon;
use crate::old::renewal::Task;
use crate::old::service_name::CredentialId;
use crate::old::source::TokenSource;

impl<S: TokenSource> Daemon<S> {
    /// Brings copies up to date: those of one credential, or all.
    pub(super) fn copy(&mut self, of: Option<&CredentialId>) {
        if let Ok(directory) = &self.directory {
            let all = self.configuration.copies.iter();
            let some = all.filter(|copy| of.is_none_or(|id| copy.id == *id));
            for words in self.copies.follow(directory.root(), some) {
                tracing::warn!("{words}");
            }
        }
    }

    /// Deletes a dead credential, if the site asks for that.
    pub(super) fn delete_dead(&mut self, task: &Task) {
        let Ok(directory) = &self.directory else {
            return;
        };
        if !self.configuration.rules.delete_dead {
            return;
        }
        match directory.delete(&task.id, &task.stamp) {
            Ok(()) => tracing::warn!("{}: deleted, since its vault token is dead", task.id),
            Err(error) => tracing::error!("{}: cannot be deleted: {error}", task.id),
        }
    }
}
