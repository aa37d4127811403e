//! The figures that `erasured` is held to: `make bench`. Each part measures on a server of its
//! own and adds its figures to `target/bench.json`; the table is printed at the end.
//!
//! `make bench ONLY=erase` measures one part; other parts' figures stay as they were.

mod across;
mod by_hand;
mod daemon;
mod desk;
mod erase;
mod filing;
mod leasing;
mod report;
mod retention;
mod size;
mod sweep;

#[path = "../tests/support/mod.rs"]
mod support;

use report::Report;

fn main() {
    let asked: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    type Part = (&'static str, fn(&mut Report));
    let parts: [Part; 8] = [
        ("erase", erase::measure),
        ("sweep", sweep::measure),
        ("leasing", leasing::measure),
        ("daemon", daemon::measure),
        ("desk", desk::measure),
        ("retention", retention::measure),
        ("across", across::measure),
        ("size", size::measure),
    ];
    let unknown = asked.iter().find(|a| !parts.iter().any(|(p, _)| p == a));
    assert!(unknown.is_none(), "no such part: {unknown:?}");
    let mut report = Report::open();
    for (part, measure) in parts {
        if asked.is_empty() || asked.iter().any(|a| a == part) {
            println!("── {part}");
            measure(&mut report);
            report.save();
        }
    }
    println!("\n{report}");
}
