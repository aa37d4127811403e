//! The `erasured` program; everything it does is in the library.

use std::process::ExitCode;

/// What is freed is wiped first: identifiers of people who were erased must not stay behind in
/// this process's memory, where a core dump would find them.
#[global_allocator]
static ALLOCATOR: zeroizing_alloc::ZeroAlloc<std::alloc::System> =
    zeroizing_alloc::ZeroAlloc(std::alloc::System);

fn main() -> ExitCode {
    erasured::cli::main()
}
