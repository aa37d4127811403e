//! What is left of a person: matching values against needles, pure.
