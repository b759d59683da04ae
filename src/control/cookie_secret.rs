//! The secret that signs sticky cookies where the file has none: made once, kept in the state directory.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use aws_lc_rs::rand::fill;

const FILE: &str = "cookie.key";
const BYTES: usize = 32;

/// The secret of `directory`, made on first use. Where it cannot be kept it lasts as long as this process: cookies
/// of before are then none.
pub(super) fn cookie_secret(directory: &Path) -> Vec<u8> {
    let file = directory.join(FILE);
    match read(&file).and_then(|known| known.map_or_else(|| make(&file), Ok)) {
        Ok(secret) => secret,
        Err(error) => {
            tracing::error!(%error, "the secret of sticky cookies cannot be kept; they end with this process");
            random()
        }
    }
}

/// `None`: there is none, or none that is whole.
fn read(file: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(file) {
        Ok(secret) => Ok(Some(secret).filter(|secret| secret.len() == BYTES)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn make(file: &Path) -> io::Result<Vec<u8>> {
    let secret = random();
    let mut options = OpenOptions::new();
    let mut made = options.create(true).write(true).truncate(true).mode(0o600).open(file)?;
    made.write_all(&secret)?;
    made.sync_all()?;
    Ok(secret)
}

fn random() -> Vec<u8> {
    let mut secret = vec![0; BYTES];
    fill(&mut secret).expect("the system has randomness");
    secret
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::{BYTES, FILE, cookie_secret};

    #[test]
    fn a_secret_is_made_once_and_for_its_owner_alone() {
        let temp = tempfile::tempdir().unwrap();
        let secret = cookie_secret(temp.path());
        assert_eq!((secret.len(), cookie_secret(temp.path())), (BYTES, secret));
        let mode = fs::metadata(temp.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_secret_that_was_cut_off_is_made_anew() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join(FILE), "short").unwrap();
        let secret = cookie_secret(temp.path());
        assert_eq!((secret.len(), cookie_secret(temp.path())), (BYTES, secret));
    }

    #[test]
    fn without_a_directory_there_is_one_all_the_same() {
        let temp = tempfile::tempdir().unwrap();
        assert_eq!(cookie_secret(&temp.path().join("gone")).len(), BYTES);
    }
}
