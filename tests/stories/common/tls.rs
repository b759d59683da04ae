//! A client that speaks TLS, believes every certificate, and remembers which it was shown.

use std::io::{Result, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, SignatureScheme, StreamOwned,
    SupportedProtocolVersion,
};

use super::{Head, PATIENCE, Wire};

/// A certificate on disk: `NAME.pem` and `NAME.key`.
pub struct OnDisk {
    pub der: CertificateDer<'static>,
    pub pem: String,
    pub key: String,
}

/// Writes a fresh self-signed certificate for `names` as `NAME.pem` and `NAME.key`, each by a rename.
#[track_caller]
pub fn certificate(dir: &Path, name: &str, names: &[&str]) -> OnDisk {
    let issued = issue(names, &rcgen::PKCS_ECDSA_P256_SHA256);
    install(dir, name, &issued);
    issued
}

pub fn issue(names: &[&str], kind: &'static rcgen::SignatureAlgorithm) -> OnDisk {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let key = KeyPair::generate_for(kind).expect("a key");
    let params = CertificateParams::new(names).expect("names");
    let signed = params.self_signed(&key).expect("a certificate");
    OnDisk {
        der: signed.der().clone(),
        pem: signed.pem(),
        key: key.serialize_pem(),
    }
}

/// Both files of a pair, the certificate first.
#[track_caller]
pub fn install(dir: &Path, name: &str, issued: &OnDisk) {
    replace(&dir.join(format!("{name}.pem")), &issued.pem);
    replace(&dir.join(format!("{name}.key")), &issued.key);
}

/// Writes a file beside, then renames it over.
#[track_caller]
pub fn replace(file: &Path, text: &str) {
    let fresh = file.with_extension("fresh");
    std::fs::write(&fresh, text).expect("it can be written");
    std::fs::rename(fresh, file).expect("a rename");
}

/// How a client comes.
pub struct Hello {
    config: ClientConfig,
}

impl Hello {
    pub fn new(versions: &[&'static SupportedProtocolVersion]) -> Self {
        Self::with(aws_lc_rs::default_provider(), versions, None)
    }

    /// One that can verify signatures of one kind only.
    pub fn verifying(schemes: &'static [SignatureScheme]) -> Self {
        Self::with(aws_lc_rs::default_provider(), rustls::ALL_VERSIONS, Some(schemes))
    }

    fn with(
        provider: CryptoProvider,
        versions: &[&'static SupportedProtocolVersion],
        schemes: Option<&'static [SignatureScheme]>,
    ) -> Self {
        let verifier = Arc::new(Credulous {
            schemes,
            provider: provider.clone(),
        });
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .expect("versions that the provider knows")
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config = builder.with_no_client_auth();
        Self { config }
    }

    /// Names protocols (ALPN).
    pub fn protocols(mut self, protocols: &[&str]) -> Self {
        self.config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    /// Names no host in its handshakes.
    pub fn nameless(mut self) -> Self {
        self.config.enable_sni = false;
        self
    }

    /// To be used more than once: sessions are kept in it.
    pub fn config(self) -> Arc<ClientConfig> {
        Arc::new(self.config)
    }
}

/// One connection over TLS.
pub struct Secure {
    wire: Wire<StreamOwned<ClientConnection, TcpStream>>,
}

impl Secure {
    /// A handshake for `name`, with something in front of it.
    pub fn connect_behind(address: SocketAddr, ahead: &[u8], name: &str, config: &Arc<ClientConfig>) -> Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(ahead)?;
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let connection = ClientConnection::new(Arc::clone(config), name).expect("a sound configuration");
        let mut stream = StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self {
            wire: Wire::new(stream),
        })
    }

    pub fn connect(address: SocketAddr, name: &str, config: &Arc<ClientConfig>) -> Result<Self> {
        Self::connect_behind(address, b"", name, config)
    }

    /// One `GET` for `host` in HTTP/1.1.
    pub fn get(&mut self, host: &str, target: &str) -> Result<(Head, String)> {
        self.ask(&format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n\r\n"))
    }

    /// Sends `head`, and takes a whole answer.
    pub fn ask(&mut self, head: &str) -> Result<(Head, String)> {
        self.wire.send(head.as_bytes())?;
        let head = self.wire.head()?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let (body, _) = self.wire.body(head.framing())?;
        Ok((head, String::from_utf8_lossy(&body).into_owned()))
    }

    /// The leaf that it was shown.
    pub fn shown(&mut self) -> CertificateDer<'static> {
        let chain = self.wire.stream().conn.peer_certificates().expect("a handshake");
        chain[0].clone().into_owned()
    }

    pub fn was_resumed(&mut self) -> bool {
        self.wire.stream().conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }
}

/// Believes every certificate; signatures must be right.
#[derive(Debug)]
struct Credulous {
    schemes: Option<&'static [SignatureScheme]>,
    provider: CryptoProvider,
}

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        match self.schemes {
            Some(schemes) => schemes.to_vec(),
            None => self.provider.signature_verification_algorithms.supported_schemes(),
        }
    }
}
