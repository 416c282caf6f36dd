//! The messages of a thread: what follow-ups answer to, and what was told.

use jiff::Timestamp;

use super::{DAY, End, Entry, EntryKey, Ledger};
use crate::domain::clock;
use crate::domain::id::ChannelName;
use crate::domain::notice::NoticeKind;
use crate::notify::channel::Receipt;
use crate::store::{chain, keys};

/// A message of the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// To whom.
    pub channel: ChannelName,
    /// When it was written down.
    pub at: Timestamp,
    /// What it was about.
    pub kind: NoticeKind,
    /// `sent`, `pending`, or the vendor's refusal.
    pub outcome: String,
}
impl Ledger {
    /// The receipt of the first message that was really delivered in a thread, and not in a digest:
    /// what follow-ups answer to. None when there is none, or it can't be read now.
    pub async fn root(&self, channel: &ChannelName, thread: &str) -> Option<Receipt> {
        let now = self.clock.now();
        for at in [clock::before(now, DAY), now] {
            let chain = keys::ledger(&keys::day(at), channel, thread);
            if let Some(receipt) = self.roots.get(&chain).await {
                return Some(receipt);
            }
            for seq in self.ends(&chain).await {
                let key = EntryKey {
                    chain: chain.clone(),
                    seq,
                };
                if let Ok(Some(End::Sent { receipt, .. })) =
                    self.store.get::<End>(&key.beside("end")).await
                    && receipt.merged == 0
                {
                    self.roots.insert(chain, receipt.clone()).await;
                    return Some(receipt);
                }
            }
        }
        None
    }

    /// Messages of a thread since `since`, oldest first; what can't be read is left out.
    pub async fn history(
        &self,
        channel: &ChannelName,
        thread: &str,
        since: Timestamp,
    ) -> Vec<Told> {
        let now = self.clock.now();
        let mut told = Vec::new();
        let mut days = vec![keys::day(since), keys::day(now)];
        days.dedup();
        for day in days {
            let chain = keys::ledger(&day, channel, thread);
            let entries = chain::read_from::<Entry>(&self.store, &chain, 1)
                .await
                .unwrap_or_default();
            for (seq, entry) in entries {
                let key = EntryKey {
                    chain: chain.clone(),
                    seq,
                };
                let outcome = match self.store.get::<End>(&key.beside("end")).await {
                    Ok(Some(End::Sent { .. })) => "sent".to_owned(),
                    Ok(Some(End::Failed { code, .. })) => format!("refused: {code}"),
                    Ok(None) | Err(_) => "pending".to_owned(),
                };
                told.push(Told {
                    channel: channel.clone(),
                    at: entry.at,
                    kind: entry.message.notice.kind,
                    outcome,
                });
            }
        }
        told
    }

    async fn ends(&self, chain: &str) -> Vec<u64> {
        let names = self.store.list(chain).await.unwrap_or_default();
        let ended = |name: &String| {
            name.strip_suffix("/end.json")?
                .rsplit_once('/')?
                .1
                .parse()
                .ok()
        };
        names.iter().filter_map(ended).collect()
    }
}
