//! One certificate for all proxies of a run: ECDSA P-256, signed by itself.

use std::path::PathBuf;

use anyhow::Context;

use crate::workdir::Workdir;

/// Its files, in the forms that the proxies want.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    /// The certificate as PEM.
    pub(crate) chain: PathBuf,
    /// Its private key as PEM.
    pub(crate) key: PathBuf,
    /// Both in one file.
    pub(crate) both: PathBuf,
}

impl Certificate {
    /// Makes one for `localhost`.
    ///
    /// # Errors
    /// When it cannot be made or written.
    pub(crate) fn create(workdir: &Workdir) -> anyhow::Result<Self> {
        let signed =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).context("cannot make a certificate")?;
        let (chain, key) = (signed.cert.pem(), signed.signing_key.serialize_pem());
        Ok(Self {
            chain: workdir.write("certificate.pem", &chain)?,
            both: workdir.write("both.pem", &format!("{chain}{key}"))?,
            key: workdir.write("key.pem", &key)?,
        })
    }
}
