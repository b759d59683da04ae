//! Bodies that are posted: to the admin API, and by applications that ask for flags. The first byte chooses the call.

use serin::admin::read_as;
use serin::ofrep::Context;

/// One body.
pub fn admin_json(input: &[u8]) {
    let Some((&kind, body)) = input.split_first() else {
        return;
    };
    if kind % 6 == 5 {
        let context = Context::read(body, 0);
        assert_eq!(Context::read(body, 0), context, "the same body is read otherwise");
        return;
    }
    let read = read_as(kind % 6, body);
    if read.starts_with("Ok") && !body.is_empty() {
        let posted = serde_json::from_slice(body);
        let posted: serde_json::Value = posted.expect("another reader takes what we take");
        let fields = posted.as_object().expect("it is an object");
        assert!(
            fields.keys().all(|name| KNOWN.contains(&name.as_str())),
            "an unknown field was taken"
        );
    }
}

/// Fields of all calls.
const KNOWN: [&str; 6] = ["weights", "reason", "full", "from", "to", "commitTime"];
