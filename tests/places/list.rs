//! The mailing list of `list.py` in a folder of its own.

use crate::support::repository;
use std::path::{Path, PathBuf};

pub(crate) struct List(tempfile::TempDir);

impl List {
    /// With these subscriptions: id and address.
    pub(crate) fn of(subscriptions: &[(&str, &str)]) -> Self {
        let list = Self(tempfile::tempdir().unwrap());
        let lines = subscriptions
            .iter()
            .map(|(id, email)| format!("{id} {email}\n"));
        list.say("list", &lines.collect::<String>());
        list
    }

    pub(crate) fn folder(&self) -> &Path {
        self.0.path()
    }

    /// The program and its arguments.
    pub(crate) fn command(&self) -> Vec<String> {
        let program = repository().join("tests/places/list.py");
        let words = [Path::new("/usr/bin/python3"), &program, self.folder()];
        words.map(|word| word.to_str().unwrap().to_owned()).to_vec()
    }

    pub(crate) fn say(&self, name: &str, text: &str) {
        std::fs::write(self.file(name), text).unwrap();
    }

    pub(crate) fn unsay(&self, name: &str) {
        std::fs::remove_file(self.file(name)).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap_or_default()
    }

    /// The ids that are left.
    pub(crate) fn left(&self) -> Vec<String> {
        let list = self.read("list");
        let ids = list.lines().filter_map(|line| line.split_once(' '));
        ids.map(|(id, _)| id.to_owned()).collect()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }
}
