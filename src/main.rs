//! The `erasured` program; everything it does is in the library.

use std::process::ExitCode;

/// What is freed is wiped first: identifiers of people who were erased must not stay behind in
/// this process's memory, where a core dump would find them.
#[global_allocator]
static ALLOCATOR: zeroizing_alloc::ZeroAlloc<std::alloc::System> =
    zeroizing_alloc::ZeroAlloc(std::alloc::System);

fn main() -> ExitCode {
    // Tests name in FAILPOINTS where this process is to die; a release is built without.
    #[cfg(feature = "failpoints")]
    let _scenario = fail::FailScenario::setup();
    erasured::cli::main()
}
