//! A program that is told: the message on standard input, no shell, no environment, a time limit.

use super::Undelivered;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Runs it once. Exit code 0 means that it has the message.
pub(super) async fn run(
    command: &[String],
    body: &[u8],
    timeout: Duration,
) -> Result<(), Undelivered> {
    let (program, arguments) = command
        .split_first()
        .ok_or(Undelivered::new("no_program"))?;
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Dropped at the time limit or when the daemon stops: nothing goes on behind its back.
        .kill_on_drop(true)
        .spawn()
        .map_err(|_| Undelivered::new("not_started"))?;
    let input = child.stdin.take();
    let all = async {
        if let Some(mut input) = input {
            // A program that does not read to the end may still have what it wants.
            input.write_all(body).await.ok();
            input.write_all(b"\n").await.ok();
        }
        child.wait().await
    };
    match tokio::time::timeout(timeout, all).await {
        Err(_) => Err(Undelivered::new("timeout")),
        Ok(Err(_)) => Err(Undelivered::new("not_started")),
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(Undelivered::new(match status.code() {
            Some(code) => format!("exit_{code}"),
            None => "killed".to_owned(),
        })),
    }
}
