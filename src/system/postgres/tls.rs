//! rustls as libpq's `sslmode` wants it, with the ring provider and nothing installed globally.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tokio_postgres_rustls::MakeRustlsConnect;
use zeroize::Zeroizing;

use super::connect::ConnectError;
use super::libpq::{Access, Roots, SslMode, Tls, read_file};

/// The connector of one server. Its files are read for each session, so that a renewed
/// certificate needs no restart.
pub(super) fn connector(mode: SslMode, tls: &Tls) -> Result<MakeRustlsConnect, ConnectError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = if tls.only_1_3 {
        &[&rustls::version::TLS13][..]
    } else {
        rustls::ALL_VERSIONS
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|error| {
            bad(
                format!("TLS cannot be set up: {error}"),
                "this is a fault of the build",
            )
        })?
        .dangerous()
        .with_custom_certificate_verifier(verifier(mode, tls, provider)?);
    let mut config = match client_identity(tls)? {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|error| {
            bad(
                format!("the client certificate cannot be used: {error}"),
                "check that sslcert and sslkey belong together",
            )
        })?,
        None => builder.with_no_client_auth(),
    };
    // What libpq sends since 17; older servers take no notice of it.
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(MakeRustlsConnect::new(config))
}

fn verifier(
    mode: SslMode,
    tls: &Tls,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, ConnectError> {
    let system = Roots::System;
    let roots = match (mode, &tls.roots) {
        (SslMode::VerifyFull, None) => &system,
        (SslMode::VerifyCa, None | Some(Roots::System)) => {
            return Err(bad(
                "`verify-ca` needs a CA file",
                "set sslrootcert or tls.ca_file, or use verify-full",
            ));
        }
        (_, Some(roots)) => roots,
        // libpq's `prefer` and `require`: encrypted, and open to whoever stands in between.
        (_, None) => return Ok(Arc::new(Unverified(provider))),
    };
    let mut store = RootCertStore::empty();
    match roots {
        Roots::System => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Roots::File(path) => {
            for certificate in certificates(path, "CA file")? {
                store.add(certificate).map_err(|_| {
                    bad(
                        format!(
                            "CA file {} holds a certificate that cannot be read",
                            path.display()
                        ),
                        "check it with openssl x509 -text",
                    )
                })?;
            }
        }
    }
    let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider)
        .build()
        .map_err(|error| {
            bad(
                format!("the CA cannot be used: {error}"),
                "check the CA file",
            )
        })?;
    Ok(if mode == SslMode::VerifyFull {
        chain
    } else {
        Arc::new(AnyName(chain))
    })
}

fn client_identity(
    tls: &Tls,
) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>, ConnectError> {
    let (certificate, key) = match (&tls.certificate, &tls.key) {
        (None, None) => return Ok(None),
        (Some(certificate), Some(key)) => (certificate, key),
        _ => {
            return Err(bad(
                "a client certificate and its key must be given together",
                "set both sslcert and sslkey",
            ));
        }
    };
    let chain = certificates(certificate, "client certificate")?;
    let text = Zeroizing::new(read_file(key, Access::OwnerOnly).map_err(|error| {
        bad(
            format!("client key {} cannot be read: {error}", key.display()),
            "it must exist with mode 0600 or less",
        )
    })?);
    let key = rustls_pemfile::private_key(&mut text.as_bytes())
        .ok()
        .flatten()
        .ok_or_else(|| {
            bad(
                format!("client key {} holds no private key in PEM", key.display()),
                "use an unencrypted PKCS#8, PKCS#1 or SEC1 key",
            )
        })?;
    Ok(Some((chain, key)))
}

fn certificates(path: &Path, what: &str) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
    let text = read_file(path, Access::Any).map_err(|error| {
        bad(
            format!("{what} {} cannot be read: {error}", path.display()),
            "check the path and the rights on it",
        )
    })?;
    let found = rustls_pemfile::certs(&mut text.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .unwrap_or_default();
    if found.is_empty() {
        return Err(bad(
            format!("{what} {} holds no certificate in PEM", path.display()),
            "it should begin with -----BEGIN CERTIFICATE-----",
        ));
    }
    Ok(found)
}

fn bad(what: impl Into<String>, help: impl Into<String>) -> ConnectError {
    ConnectError::BadSettings {
        what: what.into(),
        help: help.into(),
    }
}

/// `verify-ca`: everything but the name.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // rustls checks the chain and the dates before the name, so this error says they are good.
        match self
            .0
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// `require` without a CA: any certificate will do, if its owner holds the key.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
