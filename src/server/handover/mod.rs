//! How a new process takes the place of a running one: the listening sockets pass over a Unix socket in the state
//! directory, then the state, then the rest of the work. Until the new one says that it is live, the old one can go on
//! as if nothing had happened.
//!
//! ```text
//! new                               old
//!  │ hello, version ───────────────▶ │
//!  │ ◀───────── every socket, end ── │   both hold the sockets: no queue is lost
//!  │ reads its file, binds the rest  │
//!  │ taken: which of them ─────────▶ │   the admin side stops accepting; control writes everything
//!  │ ◀──────────────────── released ─│   down and lets go of the state directory
//!  │ control begins, workers accept  │
//!  │ live ─────────────────────────▶ │   stops accepting
//!  │ ◀────────────────────────── go ─│   drains, ends with 0
//! ```
//! The old one refuses with words at any step. When the new one leaves before it is live, the old one takes the state
//! directory again.

mod give;
mod take;
mod wire;

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

pub(super) use give::{Given, Giver};
pub(super) use take::Takeover;

/// Of the conversation. Another one is refused with words.
const VERSION: &str = "1";

/// In the state directory.
const NAME: &str = "upgrade.sock";

/// How long a path of a Unix socket may be (unix(7)), with some room.
const PATH_MAX: usize = 100;

/// A way to the socket in `directory` that is short enough for the system, good as long as the file is open.
fn place(directory: &Path) -> io::Result<(PathBuf, Option<File>)> {
    let path = directory.join(NAME);
    if path.as_os_str().len() <= PATH_MAX {
        return Ok((path, None));
    }
    let opened = File::open(directory)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{NAME}", opened.as_raw_fd()));
    Ok((path, Some(opened)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn a_long_path_is_no_obstacle() {
        let temp = tempfile::tempdir().expect("a directory");
        let deep = temp.path().join("long".repeat(30)).join("d".repeat(100));
        std::fs::create_dir_all(&deep).expect("it can be made");
        for directory in [temp.path(), &deep] {
            let (path, _open) = place(directory).expect("it is there");
            let _listening = UnixListener::bind(path).expect("a short path");
            let (path, _open) = place(directory).expect("it is there");
            UnixStream::connect(path).expect("the same socket");
            assert!(directory.join(NAME).exists());
        }
    }
}
