//! What is done beside the tries: collectors are asked in tasks of their own, and what
//! they answer comes back as news.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::Reconciler;
use crate::config::Search;
use crate::delivery::Identity;
use crate::discovery::Ad;
use crate::problem::Problem;
use crate::transport::Transport;
use crate::vault::Vault;

/// What a task found out.
pub(super) enum News {
    /// What a collector answered to a search.
    Found(Arc<Search>, Result<Vec<Ad>, Problem>),
    /// A keytab that failed was replaced.
    Keytab(Arc<Identity>),
}

impl<V: Vault, T: Transport> Reconciler<V, T> {
    /// From now on news come to the receiver.
    pub(super) fn listen(&mut self) -> mpsc::UnboundedReceiver<News> {
        let (tell, news) = mpsc::unbounded_channel();
        self.tell = tell;
        news
    }

    pub(super) fn hear(&mut self, news: News) {
        match news {
            News::Found(search, answer) => self.found(&search, answer),
            News::Keytab(identity) => self.has_new_keytab(&identity),
        }
    }

    /// Hears everything that is under way.
    pub(super) async fn hear_all(&mut self, inbox: &mut mpsc::UnboundedReceiver<News>) {
        while self.searches.is_busy() {
            match inbox.recv().await {
                Some(news) => self.hear(news),
                None => return,
            }
        }
    }
}
