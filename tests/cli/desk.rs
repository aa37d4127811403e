//! A desk at the demo company, with the logins of demo/roles.sql: what the tests here share.

use crate::support::{Demo, Server, Workspace, load_demo, repository};
use assert_cmd::Command;

/// The demo company with its people's logins and the daemon under the least rights.
pub(crate) struct Desk {
    pub(crate) server: Server,
    pub(crate) demo: Demo,
    pub(crate) workspace: Workspace,
    control: String,
}

impl Desk {
    /// Migrated, granted, policies published. A server of its own, since roles are the server's.
    pub(crate) fn open(customers: u32) -> Self {
        let server = Server::start();
        let demo = load_demo(&server, customers);
        let control = server.fresh_database("control");
        let workspace = Workspace::new(
            &server.url_as(&control, "erasured_demo"),
            &[
                ("shop", server.url_as(&demo.shop, "erasured_demo")),
                ("loyalty", server.url_as(&demo.loyalty, "erasured_demo")),
            ],
        );
        workspace.copy_policies(&repository().join("policies/travel"));
        let desk = Self {
            server,
            demo,
            workspace,
            control,
        };
        for (only, database) in [
            ("control", &desk.control),
            ("shop", &desk.demo.shop),
            ("loyalty", &desk.demo.loyalty),
        ] {
            desk.erasured([
                "migrate",
                "--only",
                only,
                "--url",
                &desk.server.url(database),
            ])
            .assert()
            .success();
        }
        desk.sql(&desk.control, "sql/roles/control.sql");
        desk.sql(&desk.control, "demo/roles.sql");
        desk.sql(&desk.demo.shop, "demo/shop_roles.sql");
        desk.sql(&desk.demo.loyalty, "demo/loyalty_roles.sql");
        desk.run_until_idle().assert().success();
        desk
    }

    fn sql(&self, database: &str, file: &str) {
        let text = std::fs::read_to_string(repository().join(file)).unwrap();
        self.server.execute(database, &text);
    }

    /// Name of the control database.
    pub(crate) fn control(&self) -> &str {
        &self.control
    }

    /// The program with the daemon's configuration.
    pub(crate) fn erasured<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        self.workspace.erasured(arguments)
    }

    /// The program as a person runs it: a login, the control database, no configuration.
    pub(crate) fn as_person<'a>(
        &self,
        login: &str,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Command {
        let mut command = crate::support::erasured();
        command
            .env("ERASURED_CONTROL", self.server.url_as(&self.control, login))
            .args(arguments);
        command
    }

    pub(crate) fn run_until_idle(&self) -> Command {
        self.erasured(["run", "--until-idle"])
    }

    /// Files, verifies and approves an account erasure by member number.
    pub(crate) fn file(&self, reference: &str, identifier: &str) {
        self.ask(reference, identifier);
        self.approve(reference);
    }

    /// Files and verifies it.
    pub(crate) fn ask(&self, reference: &str, identifier: &str) {
        self.as_person("hana", submit(reference, identifier))
            .assert()
            .success();
        let verify = ["ticket", "verify", reference, "--method", "login_reauth"];
        self.as_person("hana", verify).assert().success();
    }

    /// Approves it.
    pub(crate) fn approve(&self, reference: &str) {
        self.as_person("kenji", ["ticket", "approve", reference])
            .assert()
            .success();
    }

    /// One column of the ticket's row.
    pub(crate) fn ticket(&self, reference: &str, column: &str) -> String {
        let sql = format!(
            "SELECT {column}::text FROM erasured.ticket_status WHERE reference = '{reference}'"
        );
        self.server.value(&self.control, &sql)
    }
}

/// How an account erasure is filed.
pub(crate) fn submit<'a>(reference: &'a str, identifier: &'a str) -> [&'a str; 12] {
    [
        "ticket",
        "submit",
        "--reference",
        reference,
        "--subject",
        "customer",
        "--scope",
        "account",
        "--ground",
        "policy",
        "--identifier",
        identifier,
    ]
}

/// Standard output of a command that must succeed.
pub(crate) fn stdout(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Standard error of a command that must end with this code.
pub(crate) fn stderr(mut command: Command, code: i32) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{command:?}\n{text}");
    text
}
