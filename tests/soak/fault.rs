//! What goes wrong, by chance and by seed.

use crate::support::{Fault, Rule, Server, Way, When, blocking};
use crate::watched::Watched;
use crate::world::World;
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

#[derive(Default)]
pub struct Faults {
    many: BTreeMap<&'static str, usize>,
    next: Option<Instant>,
    /// A daemon that is to run again then.
    later: Vec<(usize, Instant)>,
    /// A network that is to be whole again then.
    heals: Option<Instant>,
}

impl Faults {
    pub fn round(&mut self, chance: &mut StdRng, world: &mut World, daemons: &mut [Watched; 2]) {
        let now = Instant::now();
        self.goes_on(now, world, daemons);
        self.mariadb_lives(world);
        if self.next.is_some_and(|next| now < next) {
            return;
        }
        if self.next.is_some() {
            let kind = self.one(chance, world, daemons);
            *self.many.entry(kind).or_default() += 1;
        }
        self.next = Some(Instant::now() + Duration::from_millis(chance.random_range(2000..5000)));
    }

    /// 10.11 does not bear every KILL of a session that reads information_schema.
    fn mariadb_lives(&mut self, world: &mut World) {
        if !world.mariadb.lives() {
            world.mariadb.start_again();
            *self.many.entry("MariaDB died by itself").or_default() += 1;
        }
    }

    /// Who was stopped goes on, who was killed starts again, silent connections are reset.
    fn goes_on(&mut self, now: Instant, world: &World, daemons: &mut [Watched; 2]) {
        let (due, later) = self.later.drain(..).partition(|(_, at)| *at <= now);
        self.later = later;
        for (which, _) in due as Vec<(usize, Instant)> {
            let daemon = &mut daemons[which];
            match &daemon.running {
                Some(running) => {
                    running.signal("CONT");
                    daemon.stopped = false;
                }
                None => daemon.begin(),
            }
        }
        if self.heals.is_some_and(|at| at <= now) {
            self.heals = None;
            world.proxies().iter().for_each(|proxy| proxy.heal());
        }
    }

    fn one(
        &mut self,
        chance: &mut StdRng,
        world: &mut World,
        daemons: &mut [Watched; 2],
    ) -> &'static str {
        let which = chance.random_range(0..2);
        let in_time = |millis: u64| Instant::now() + Duration::from_millis(millis);
        let up = |which: usize, daemons: &[Watched; 2]| {
            daemons[which].running.is_some() && !daemons[which].stopped
        };
        let at = chance.random_range(0..3);
        let proxy = world.proxies()[at];
        let server: &Server = if chance.random() {
            &world.control
        } else {
            &world.systems
        };
        let way = if chance.random() { Way::Up } else { Way::Down };
        let bytes = When::Bytes(chance.random_range(1..20_000));
        match chance.random_range(0..16) {
            // The first is never killed.
            0..3 if up(1, daemons) => {
                daemons[1].kill();
                self.later.push((1, in_time(chance.random_range(0..3000))));
                "a daemon killed"
            }
            3..5 if up(which, daemons) => {
                daemons[which].running.as_ref().unwrap().signal("STOP");
                daemons[which].stopped = true;
                self.later
                    .push((which, in_time(chance.random_range(500..9000))));
                "a daemon stopped for a while"
            }
            5 => {
                server.restart();
                "a server restarted"
            }
            6 => {
                server.stop_immediate();
                std::thread::sleep(Duration::from_millis(chance.random_range(0..2000)));
                server.start_again();
                "a server crashed"
            }
            7 => {
                proxy.arm(Rule {
                    way,
                    when: bytes,
                    fault: Fault::Silence,
                });
                self.heals = Some(in_time(chance.random_range(5_000..20_000)));
                "a connection silent"
            }
            8 => {
                proxy.arm(Rule {
                    way,
                    when: bytes,
                    fault: Fault::Delay(Duration::from_millis(1500)),
                });
                "a connection slow"
            }
            9 => {
                let sql = "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'erasured/%' ORDER BY random() LIMIT 3) x";
                server.value("postgres", sql);
                "sessions ended"
            }
            10 => {
                // Of an extended query it is the statement's end, of a simple one the text's.
                let commit: &[&[u8]] = match at {
                    1 => &[b"COMMIT\0", b"PREPARE TRANSACTION", b"COMMIT PREPARED"],
                    2 => &[b"erasured:commit"],
                    _ => &[b"COMMIT\0"],
                };
                let when = When::Passes(commit[chance.random_range(0..commit.len())], None);
                proxy.arm(Rule {
                    way,
                    when,
                    fault: Fault::Cut,
                });
                "a COMMIT cut off"
            }
            11 => {
                take_all_connections(server, Duration::from_millis(1500));
                "all connections taken"
            }
            13 => {
                world.mariadb.stop();
                std::thread::sleep(Duration::from_millis(chance.random_range(0..2000)));
                world.mariadb.start_again();
                "MariaDB crashed"
            }
            14 => {
                world.mariadb.tries("KILL USER 'erasured'@'localhost'");
                "sessions of MariaDB ended"
            }
            15 => {
                world
                    .mariadb
                    .take_all_connections("erasured", Duration::from_millis(1500));
                "all connections of MariaDB taken"
            }
            _ => {
                let fault = if chance.random() {
                    Fault::Cut
                } else {
                    Fault::Reset
                };
                proxy.arm(Rule {
                    way,
                    when: bytes,
                    fault,
                });
                "a connection cut"
            }
        }
    }

    /// Nothing goes wrong any more, and everybody is back.
    pub fn end(&mut self, world: &mut World, daemons: &mut [Watched; 2]) {
        // The last KILL may be taking its time.
        std::thread::sleep(Duration::from_secs(1));
        self.mariadb_lives(world);
        self.heals = self.heals.map(|_| Instant::now());
        let later = self.later.iter().map(|(which, _)| (*which, Instant::now()));
        self.later = later.collect();
        for proxy in world.proxies() {
            proxy.disarm();
            proxy.heal();
        }
        self.goes_on(Instant::now(), world, daemons);
    }

    pub fn told(&self) -> String {
        format!("{} faults", self.many.values().sum::<usize>())
    }

    pub fn table(&self) -> String {
        let lines = self.many.iter().map(|(kind, n)| format!("{n:>6}  {kind}"));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Whoever comes now is turned away.
fn take_all_connections(server: &Server, time: Duration) {
    let url = server.url("postgres");
    blocking(async {
        let mut taken = Vec::new();
        while let Ok((client, connection)) =
            tokio_postgres::connect(&url, tokio_postgres::NoTls).await
        {
            tokio::spawn(connection);
            taken.push(client);
        }
        tokio::time::sleep(time).await;
    });
}
