//! The unit, as systemd judges it.

use crate::support::repository;
use std::process::Command;

#[test]
fn the_sandbox_scores_two_or_better() {
    let unit = repository().join("systemd/erasured.service");
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .arg(&unit)
        .output()
        .expect("systemd-analyze: scripts/install.sh test installs it");
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text
        .lines()
        .find(|l| l.contains("Overall exposure level"))
        .unwrap_or_else(|| {
            panic!(
                "no verdict:\n{text}\n{}",
                String::from_utf8_lossy(&output.stderr)
            )
        });
    let score: f64 = line
        .split_whitespace()
        .find_map(|word| word.parse().ok())
        .unwrap_or_else(|| panic!("no number in {line}"));
    assert!(score <= 2.0, "{line}");
}
