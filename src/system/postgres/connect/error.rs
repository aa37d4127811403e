//! Why there is no session, and what to do about it.

/// Why there is no session. No variant holds a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The settings make no sense, or name a file that cannot be used.
    #[error("connection settings: {what}; {help}")]
    BadSettings {
        /// What is wrong.
        what: String,
        /// What to do.
        help: String,
    },
    /// Nobody answers there.
    #[error(
        "cannot reach PostgreSQL at {at}: {cause}; check host, port and firewall, and that the server runs"
    )]
    Unreachable {
        /// The host, or the folder of the socket.
        host: String,
        /// The port.
        port: u16,
        /// `host:port/database`.
        at: String,
        /// What the system said.
        cause: String,
    },
    /// The server answers, but not in a way that may be trusted.
    #[error("TLS with {at} failed: {problem}")]
    Tls {
        /// `host:port/database`.
        at: String,
        /// What was wrong.
        problem: TlsProblem,
    },
    /// The server does not let this user in.
    #[error("{at} does not let user `{user}` in: {problem}")]
    Auth {
        /// `host:port/database`.
        at: String,
        /// The role that tried.
        user: String,
        /// What was wrong.
        problem: AuthProblem,
    },
    /// All connections of the server, the database or the role are taken.
    #[error(
        "{at} has no connection free ({message}); raise max_connections or the role's limit, or lower [limits] workers"
    )]
    TooManyConnections {
        /// `host:port/database`.
        at: String,
        /// What the server said.
        message: String,
    },
    /// The server is starting, stopping or recovering.
    #[error("{at} is starting up or shutting down; trying again is all there is to do")]
    StartingUp {
        /// `host:port/database`.
        at: String,
    },
    /// The server is reached, but `target_session_attrs` asks for another kind.
    #[error("{at} is not the kind of server that target_session_attrs asks for: {what}")]
    WrongServer {
        /// `host:port/database`.
        at: String,
        /// What was found.
        what: String,
    },
    /// An operator has daemons leave the system alone.
    #[error("{at} is in maintenance; `erasured system list` says who had it left alone, and why")]
    Maintenance {
        /// `host:port/database`.
        at: String,
    },
    /// All sessions of our own pool stayed in use for the time that may be waited.
    #[error("all sessions of the pool to {at} are in use")]
    PoolBusy {
        /// `host:port/database`.
        at: String,
    },
    /// Anything else the server said.
    #[error("{at}: {what}")]
    Other {
        /// `host:port/database`.
        at: String,
        /// A description without values.
        what: String,
    },
}

impl ConnectError {
    /// Whether trying again later, with nothing changed, may succeed.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::TooManyConnections { .. }
                | Self::StartingUp { .. }
                | Self::WrongServer { .. }
                | Self::PoolBusy { .. }
                | Self::Maintenance { .. }
        )
    }

    /// As what it is counted where work is put off for it.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Maintenance { .. } => "maintenance",
            _ => "unreachable",
        }
    }
}

/// What was wrong with TLS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsProblem {
    /// The certificate comes from another authority than the trusted ones.
    #[error(
        "its certificate comes from an authority that is not trusted; set sslrootcert (tls.ca_file) to the CA that signed it"
    )]
    UnknownCa,
    /// The certificate is for another host.
    #[error(
        "its certificate is not for this host name; connect by a name in its subjectAltName (the common name does not count), or have it reissued"
    )]
    WrongHostName,
    /// The certificate is past its end or before its beginning.
    #[error("its certificate has expired or is not valid yet; renew it, and check the clocks")]
    Expired,
    /// The server has no TLS.
    #[error(
        "the server does not offer TLS; set ssl = on there (or sslmode=disable here, if the way is safe)"
    )]
    NotOffered,
    /// The server did not like our certificate.
    #[error(
        "the server refused our certificate ({0}); check sslcert and sslkey (tls.client_cert, tls.client_key_file) and the server's ssl_ca_file"
    )]
    ClientCertificate(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// What was wrong with the login.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthProblem {
    /// Wrong, or expired: the server does not say which to a client.
    #[error(
        "the password is wrong or has expired (rolvaliduntil in pg_roles), or the client certificate names another user; the server's log says which"
    )]
    Password,
    /// The server wants a password and there is none.
    #[error(
        "the server asks for a password and none was found; give password_file, PGPASSWORD or a line in .pgpass (mode 0600)"
    )]
    NoPassword,
    /// `pg_hba.conf`, a client certificate, or a role that may not log in.
    #[error("{0}; see pg_hba.conf on the server")]
    Refused(String),
    /// The exchange itself failed.
    #[error("authentication failed: {0}")]
    Protocol(String),
}
