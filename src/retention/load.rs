//! A number that something else measures: the first one in a file, or in what a program says.

use crate::config::throttle::{Load, LoadSource};
use std::process::Stdio;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// So much is read of it.
const MOST: u64 = 4096;

/// `None` if there is none, or what there is is too old. The caller bounds the time.
pub(super) async fn read(load: &Load) -> Option<f64> {
    let mut text = String::new();
    match &load.source {
        LoadSource::File(path) => {
            let file = tokio::fs::File::open(path).await.ok()?;
            if let Some(fresh) = load.fresh {
                let written = file.metadata().await.ok()?.modified().ok()?;
                // One of the future is fresh.
                let age = written.elapsed().unwrap_or_default();
                if age > fresh {
                    return None;
                }
            }
            file.take(MOST).read_to_string(&mut text).await.ok()?;
        }
        LoadSource::Command(command) => {
            let (program, arguments) = command.split_first()?;
            let mut child = Command::new(program)
                .args(arguments)
                .env_clear()
                .env("PATH", "/usr/local/bin:/usr/bin:/bin")
                .current_dir("/")
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .ok()?;
            let said = child.stdout.take()?;
            said.take(MOST).read_to_string(&mut text).await.ok()?;
            if !child.wait().await.ok()?.success() {
                return None;
            }
        }
    }
    first(&text)
}

fn first(text: &str) -> Option<f64> {
    let number = text.split_whitespace().find_map(|word| word.parse().ok());
    number.filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn of(source: LoadSource, fresh: Option<u64>) -> Load {
        Load {
            source,
            above: 1.0,
            fresh: fresh.map(Duration::from_secs),
        }
    }

    fn command(words: &[&str]) -> Load {
        let words = words.iter().map(|&word| word.to_owned()).collect();
        of(LoadSource::Command(words), None)
    }

    #[test]
    fn the_first_number_counts() {
        assert_eq!(first("0.42 0.20 0.11 2/612 9138\n"), Some(0.42));
        assert_eq!(first("load: 7"), Some(7.0));
        for none in ["", "none", "NaN", "inf"] {
            assert_eq!(first(none), None, "{none}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_read_or_is_old_is_not_known() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let source = || LoadSource::File(file.path().to_owned());
        assert_eq!(read(&of(source(), None)).await, None, "empty");
        std::fs::write(file.path(), "3.5\n").unwrap();
        assert_eq!(read(&of(source(), Some(60))).await, Some(3.5));
        let old = std::time::SystemTime::now() - Duration::from_secs(61);
        file.as_file().set_modified(old).unwrap();
        assert_eq!(read(&of(source(), Some(60))).await, None);
        assert_eq!(read(&of(source(), None)).await, Some(3.5));
        let missing = LoadSource::File("/nowhere/load".into());
        assert_eq!(read(&of(missing, None)).await, None);
    }

    #[tokio::test]
    async fn a_program_says_it_and_must_end_well() {
        assert_eq!(read(&command(&["/bin/echo", "12", "3"])).await, Some(12.0));
        for wrong in [
            &["/bin/sh", "-c", "echo 12; exit 1"][..],
            &["/nowhere/program"],
            &["/bin/true"],
        ] {
            assert_eq!(read(&command(wrong)).await, None, "{wrong:?}");
        }
    }
}
