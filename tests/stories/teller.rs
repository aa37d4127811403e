//! Tells a story while it happens: what people say, what they type, what comes of it.

use crate::desk::{Desk, stdout};

/// The company, and the one who tells.
pub(crate) struct Story {
    pub(crate) desk: Desk,
}

impl Story {
    pub(crate) fn begins(title: &str) -> Self {
        println!("\n━━ {title} ━━");
        Self {
            desk: Desk::open(120),
        }
    }

    /// What happens, in a sentence.
    pub(crate) fn tell(&self, text: &str) {
        println!("\n{text}");
    }

    /// What somebody says.
    pub(crate) fn say(&self, who: &str, words: &str) {
        println!("  {who}「{words}」");
    }

    /// What somebody of the company types, and what they read; it must succeed.
    pub(crate) fn types<'a>(
        &self,
        login: &str,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> String {
        let (said, code) = self.tries(login, arguments);
        assert_eq!(code, Some(0), "{said}");
        said
    }

    /// The same where the program says no.
    pub(crate) fn is_refused<'a>(
        &self,
        login: &str,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> String {
        let (said, code) = self.tries(login, arguments);
        assert_eq!(code, Some(2), "{said}");
        said
    }

    fn tries<'a>(
        &self,
        login: &str,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> (String, Option<i32>) {
        let arguments: Vec<&str> = arguments.into_iter().collect();
        let folder = self.desk.workspace.path().display().to_string() + "/";
        println!(
            "    {login}$ erasured {}",
            arguments.join(" ").replace(&folder, "")
        );
        let output = self.desk.as_person(login, arguments).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        for line in said.lines() {
            println!("      {line}");
        }
        (said, output.status.code())
    }

    /// The caller's answers, compared with what is on file: match or no match.
    pub(crate) fn answers(&self, reference: &str, method: &str, answers: &str) -> bool {
        println!("    hana$ erasured ticket prove {reference} --method {method}");
        let prove = [
            "ticket",
            "prove",
            reference,
            "--method",
            method,
            "--as",
            "hana",
            "--answer-file",
            "-",
        ];
        let mut command = self.desk.erasured(prove);
        let output = command.write_stdin(answers.to_owned()).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        print!("      {said}");
        output.status.success()
    }

    /// The daemon does what there is to do.
    pub(crate) fn the_daemon_works(&self) {
        println!("    (デーモンが処理します)");
        self.desk.run_until_idle().assert().success();
    }

    /// How many rows there are, in one of the company's databases.
    pub(crate) fn rows(&self, database: &str, what: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {what}");
        self.desk.server.count(database, &sql)
    }

    /// Of the main one.
    pub(crate) fn in_shop(&self, what: &str) -> i64 {
        self.rows(&self.desk.demo.shop, what)
    }

    /// One value from the main database.
    pub(crate) fn of_shop(&self, sql: &str) -> String {
        self.desk.server.value(&self.desk.demo.shop, sql)
    }

    /// The certificate, as an auditor gets and checks it: with nothing but the public key.
    pub(crate) fn certificate(&self, reference: &str) -> serde_json::Value {
        let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
        let key = path(&self.desk.workspace.public_key());
        let file = self.desk.workspace.path().join(format!("{reference}.jws"));
        let show = |format| {
            let show = [
                "certificate",
                "show",
                reference,
                "--format",
                format,
                "--key",
                &key,
            ];
            stdout(self.desk.as_person("auditor", show))
        };
        std::fs::write(&file, show("jws")).unwrap();
        let said = self.types(
            "auditor",
            ["certificate", "verify", &path(&file), "--key", &key],
        );
        assert!(!said.is_empty());
        serde_json::from_str(&show("json")).unwrap()
    }
}

impl Story {
    /// All dates of the invoices and of what waits lie a year further back.
    pub(crate) fn a_year_passes(&self) {
        let server = &self.desk.server;
        let shop = "UPDATE invoice SET issued_on = issued_on - interval '1 year'";
        server.execute(&self.desk.demo.shop, shop);
        let waiting = "UPDATE erasured.deferral SET due_at = due_at - interval '1 year' WHERE state = 'waiting'";
        server.execute(self.desk.control(), waiting);
    }
}

impl Story {
    /// Somebody or something of the company changes what is in the main database.
    pub(crate) fn changes_in_shop(&self, sql: &str) {
        self.desk.server.execute(&self.desk.demo.shop, sql);
    }

    /// What waits for a day waits a week less.
    pub(crate) fn a_week_passes(&self) {
        println!("    (一週間が過ぎます)");
        let passes = "ALTER TABLE erasured.ticket DISABLE TRIGGER guard_wait;
            UPDATE erasured.ticket SET not_before = not_before - interval '7 days',
                   next_attempt_at = next_attempt_at - interval '7 days';
            ALTER TABLE erasured.ticket ENABLE TRIGGER guard_wait";
        self.desk.server.execute(self.desk.control(), passes);
    }
}
