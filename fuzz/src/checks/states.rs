//! State files of all versions: what is taken is written and taken again, and the same then.

use serin::audit::Anchor;
use serin::control::rewritten_state;

/// One text as a state file.
pub fn state(input: &[u8]) {
    // The log's own reader of it takes bytes.
    let anchor = Anchor::of_state(input);
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let Ok(written) = rewritten_state(text) else {
        return;
    };
    let again = rewritten_state(&written);
    assert_eq!(again.as_ref(), Ok(&written), "what was written is read otherwise");
    let found = Anchor::of_state(written.as_bytes()).expect("what was written is a state");
    assert_eq!(Ok(found), anchor, "the audit log is anchored otherwise");
}
