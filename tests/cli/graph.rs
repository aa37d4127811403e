//! `erasured graph`.

use crate::desk::{Desk, stderr, stdout};
use crate::support::{Server, Workspace};

/// The demo company: what nobody has decided and what is exempt stand there too.
#[test]
fn the_lineage_is_drawn() {
    let desk = Desk::open(60);
    let dot = stdout(desk.erasured(["graph", "--scope", "account"]));
    insta::assert_snapshot!("demo_dot", dot);
    desk.server.execute(
        &desk.demo.shop,
        "CREATE TABLE wishlist (id int PRIMARY KEY, customer_id bigint REFERENCES customer)",
    );
    let file = desk.workspace.path().join("customer.html");
    let said = stdout(desk.erasured(["graph", "--output", file.to_str().unwrap()]));
    assert!(said.ends_with("customer.html is written\n"), "{said}");
    let html = std::fs::read_to_string(file).unwrap();
    let svg = stdout(desk.erasured(["graph", "--format", "svg"]));
    for page in [&html, &svg] {
        well_formed(page);
        for part in [
            ">public.wishlist</text>",
            ">UNDECIDED</text>",
            ">exempt</text>",
            "1:n by wishlist_customer_id_fkey from public.customer",
            "system loyalty",
        ] {
            assert!(page.contains(part), "{part}");
        }
    }
    assert!(html.contains("1 UNDECIDED,"), "{html}");
    let said = stderr(desk.erasured(["graph", "--scope", "acount"]), 2);
    assert!(said.contains("did you mean `account`?"), "{said}");
    let said = stderr(desk.erasured(["graph", "--policy", "custmer"]), 2);
    assert!(said.contains("did you mean `customer`?"), "{said}");
}

/// What lies in systems without tables is drawn by what it is found, whether or not they are registered.
#[test]
fn places_are_drawn() {
    let server = Server::shared();
    let database = server.fresh_database("places");
    server.execute(
        &database,
        "CREATE TABLE person (id int PRIMARY KEY, email text, picture text)",
    );
    let workspace = Workspace::new(&server.url(&database), &[("app", server.url(&database))]);
    workspace.write_policy(
        "person.toml",
        r#"subject = "person"
root = "app.public.person"
identifier.email = { column = "email", find = true, excludes = ":/" }
scope.all = { tables = "all", verify = { at_least = "basic" }, sla = "eu-gdpr" }
scope.rows = { tables = ["app.public.person"], verify = { at_least = "basic" }, sla = "eu-gdpr" }
[[table]]
name = "app.public.person"
action = "delete"
[[place]]
system = "cache"
name = "sessions"
keys = ["session:{email}"]
members = ["{email}"]
in = "online"
[[place]]
system = "files"
name = "pictures"
from = { table = "app.public.person", column = "picture", key = "faces/{value}" }
kept = ["object-lock"]
"#,
    );
    let page = stdout(workspace.erasured(["graph", "--scope", "all", "--format", "html"]));
    well_formed(&page);
    for part in [
        "1 tables, 2 places: 3 delete, 1 keep",
        "<h2>system cache</h2>",
        "1:1 by session:{email} from the ticket&#39;s email: delete",
        "1:n by {email} in online from the ticket&#39;s email: delete",
        "<td>pictures</td><td>delete · keep</td>",
        "1:1 by faces/… from app.public.person.picture: delete",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let rows = stdout(workspace.erasured(["graph", "--scope", "rows", "--format", "html"]));
    assert!(!rows.contains("sessions"), "{rows}");
}

/// Whatever a name holds, it stays text.
#[test]
fn names_are_only_text() {
    let server = Server::shared();
    let database = server.fresh_database("hostile");
    let names = [
        "</script><img src=x onerror=alert(1)>",
        "</svg></title></style>",
        "a\" onload=\"x",
        "it's & <b>",
        "two\nlines\\n\\",
        "顧客の予約と住所のとても長い名前",
        "\u{1b}[2J\u{202e}x",
    ];
    let mut sql = "CREATE TABLE person (id int PRIMARY KEY, email text);".to_owned();
    for name in names {
        let quoted = name.replace('"', "\"\"");
        sql += &format!(
            "CREATE TABLE \"{quoted}\" (id int PRIMARY KEY, who int CONSTRAINT \"{quoted}\" REFERENCES person);"
        );
    }
    server.execute(&database, &sql);
    let workspace = Workspace::new(&server.url(&database), &[("app", server.url(&database))]);
    workspace.write_policy(
        "person.toml",
        "subject = \"person\"\nroot = \"app.public.person\"\n\n[identifier.email]\ncolumn = \"email\"\nfind = true\n\n\
         [scope.all]\ntables = \"all\"\nverify = { at_least = \"basic\" }\nsla = \"eu-gdpr\"\n\n\
         [[table]]\nname = \"app.public.person\"\naction = \"delete\"\n",
    );
    for format in ["svg", "html"] {
        let page = stdout(workspace.erasured(["graph", "--format", format]));
        let tags = well_formed(&page);
        for tag in ["script", "img", "b"] {
            assert!(!tags.contains(&tag.to_owned()), "{format}: <{tag}>");
        }
        assert!(!page.contains('\u{1b}') && !page.contains('\u{202e}'));
        assert!(page.contains("顧客の予約と住所のとても長い名前"), "{page}");
        assert!(page.contains("&lt;/script&gt;") && page.contains("two\\u{a}lines"));
    }
    let dot = stdout(workspace.erasured(["graph"]));
    // Strings end where they should: every line is one statement.
    for line in dot.lines().filter(|l| l.contains('[')) {
        let bare = line.replace("\\\\", "").replace("\\\"", "");
        assert_eq!(bare.matches('"').count() % 2, 0, "{line}");
        let ends = line.trim_end().ends_with("];");
        assert!(ends, "{line}");
    }
    assert!(
        dot.contains("</script>") && dot.contains("&amp; <b>"),
        "{dot}"
    );
}

/// Tags are closed in order, attributes are quoted, text has no bare `<` or `&`. Returns the tags.
fn well_formed(page: &str) -> Vec<String> {
    let (mut open, mut tags): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let mut rest = page;
    while let Some(at) = rest.find('<') {
        if open.last().is_some_and(|t| t != "style") {
            for entity in rest[..at].split('&').skip(1) {
                let name = entity.split(';').next().unwrap();
                assert!(
                    ["lt", "gt", "amp", "quot", "#39"].contains(&name),
                    "&{name}"
                );
            }
        }
        rest = &rest[at + 1..];
        let mut quoted = false;
        let end = rest.find(|c| {
            quoted ^= c == '"';
            c == '>' && !quoted
        });
        let end = end.expect("a tag ends");
        let (tag, after) = (&rest[..end], &rest[end + 1..]);
        rest = after;
        assert!(!tag.contains('<'), "a tag within a tag: {tag}");
        let name: String = tag
            .trim_start_matches('/')
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect();
        if tag.starts_with('/') {
            assert_eq!(open.pop().as_ref(), Some(&name), "closed out of order");
        } else if !tag.starts_with('!') {
            assert!(!name.is_empty(), "<{tag}>");
            if !tag.ends_with('/') && name != "meta" {
                open.push(name.clone());
            }
            tags.push(name);
        }
    }
    assert!(open.is_empty(), "never closed: {open:?}");
    tags
}
