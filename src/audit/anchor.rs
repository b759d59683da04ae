//! What the durable state holds of the log: where it begins and ends, so that neither end can be cut
//! off unseen.

use serde::{Deserialize, Serialize};

use super::{Chain, parse};

/// Both ends of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// The newest record.
    #[serde(flatten)]
    pub head: Chain,
    /// The lines of the newest records that may not stand in the file yet, oldest first.
    pub pending: Vec<String>,
    /// The newest record that was removed for its age; the log begins behind it.
    pub pruned: Chain,
}

/// As much of the state as the log needs.
#[derive(Deserialize)]
struct State {
    audit: Option<Anchor>,
}

impl Anchor {
    /// The anchor in the text of a state file; `None`: it was written before there was a log.
    ///
    /// # Errors
    /// Why it is no state.
    pub fn of_state(text: &[u8]) -> Result<Option<Self>, String> {
        let state: State = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        Ok(state.audit)
    }

    /// The pending line of record `seq`.
    #[must_use]
    pub fn pending_line(&self, seq: u64) -> Option<&str> {
        let is_it = |line: &&String| parse(line.as_bytes()).is_ok_and(|record| record.seq == seq);
        self.pending.iter().find(is_it).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::Anchor;
    use crate::audit::Chain;

    #[test]
    fn an_anchor_is_found_in_a_state_that_holds_more() {
        let anchor = Anchor {
            head: Chain::at(2, b"two"),
            pending: vec!["two".into()],
            pruned: Chain::at(1, b"one"),
        };
        let text = format!(r#"{{"version":1,"audit":{}}}"#, serde_json::to_string(&anchor).unwrap());
        assert!(text.contains(r#""audit":{"seq":2,"hash":""#), "{text}");
        assert_eq!(Anchor::of_state(text.as_bytes()), Ok(Some(anchor)));
        assert_eq!(Anchor::of_state(b"{}"), Ok(None));
        assert!(Anchor::of_state(&text.as_bytes()[..40]).is_err());
    }
}
