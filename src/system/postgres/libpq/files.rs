//! What libpq looks up outside the connection string: services, password files, the user's name.

use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::text::{self, Options, bad};
use super::{Access, Endpoint, SOCKET_FOLDER};
use crate::system::postgres::connect::ConnectError;

pub(super) fn read_service(
    name: &str,
    home: Option<&Path>,
    env: &dyn Fn(&str) -> Option<String>,
    read_file: &dyn Fn(&Path, Access) -> io::Result<String>,
) -> Result<Options, ConnectError> {
    let own = env("PGSERVICEFILE")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    let shared =
        env("PGSYSCONFDIR").map_or_else(|| PathBuf::from("/etc/postgresql-common"), PathBuf::from);
    let files = [
        own.or_else(|| home.map(|home| home.join(".pg_service.conf"))),
        Some(shared.join("pg_service.conf")),
    ];
    for path in files.iter().flatten() {
        let Ok(file) = read_file(path, Access::Any) else {
            continue;
        };
        if let Some(options) = text::service(&file, name)? {
            return Ok(options);
        }
    }
    let looked = files
        .iter()
        .flatten()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(", ");
    Err(bad(
        format!(
            "no service `{}` was found in {looked}",
            name.escape_default()
        ),
        "add a section of that name to one of these files, or set PGSERVICEFILE",
    ))
}

/// The name of the effective user, from the files that every Linux has; else what the
/// environment claims (systemd's DynamicUser is not in /etc/passwd).
pub(super) fn system_user(
    env: &dyn Fn(&str) -> Option<String>,
    read_file: &dyn Fn(&Path, Access) -> io::Result<String>,
) -> Option<String> {
    let from_passwd = || {
        let status = read_file(Path::new("/proc/self/status"), Access::Any).ok()?;
        let effective = status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:"))?
            .split_whitespace()
            .nth(1)?
            .to_owned();
        let passwd = read_file(Path::new("/etc/passwd"), Access::Any).ok()?;
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)? == effective).then(|| name.to_owned())
        })
    };
    from_passwd()
        .or_else(|| env("USER"))
        .or_else(|| env("LOGNAME"))
        .filter(|name| !name.is_empty())
}

/// The password file that is to be read, and what it says.
pub(super) fn passfile(
    options: &Options,
    home: Option<&Path>,
    read_file: &dyn Fn(&Path, Access) -> io::Result<String>,
    warnings: &mut Vec<String>,
) -> Option<(PathBuf, Zeroizing<String>)> {
    let asked = options
        .get("passfile")
        .map(|path| PathBuf::from(path.as_str()));
    let path = asked
        .clone()
        .or_else(|| home.map(|home| home.join(".pgpass")))?;
    match read_file(&path, Access::OwnerOnly) {
        Ok(text) => Some((path, Zeroizing::new(text))),
        Err(error) => {
            // A password file that nobody asked for may well be absent.
            if asked.is_some() || error.kind() == io::ErrorKind::PermissionDenied {
                let path = path.display();
                warnings.push(format!(
                    "password file {path} is ignored: {error}; it must exist with mode 0600 or less"
                ));
            }
            None
        }
    }
}

/// What a password file says of a server.
pub(super) fn password(
    file: &str,
    endpoint: &Endpoint,
    user: &str,
    dbname: &str,
) -> Option<Zeroizing<String>> {
    let name = endpoint.host();
    let hosts = if name == SOCKET_FOLDER || name == "/run/postgresql" || name == "/tmp" {
        vec!["localhost", name.as_str()]
    } else {
        vec![name.as_str()]
    };
    text::password(
        file,
        &text::Wanted {
            hosts: &hosts,
            port: endpoint.port,
            dbname,
            user,
        },
    )
}
