//! What holds for any text: nothing panics, and the higher layer wins.

use super::*;

/// A small deterministic generator (SplitMix64), so that a failure comes back with its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap_or(0)
    }

    fn pick<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        &from[self.below(from.len())]
    }

    fn chance(&mut self) -> bool {
        self.next().is_multiple_of(2)
    }
}

/// Pieces of TOML that make sense often enough to get past the parser.
const PIECES: [&str; 40] = [
    "work_interval",
    "camera",
    "zmq",
    "publisher",
    "source",
    "kind",
    "exphost",
    "workers",
    "stages",
    "fps",
    "port",
    " = ",
    "=",
    ".",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    ",",
    "\n",
    "\n",
    "\n",
    "\"",
    "'",
    "\"\"\"",
    "1",
    "-0.5",
    "1e400",
    "nan",
    "true",
    "\"camera\"",
    "\"ü\u{feff}\"",
    "\\u",
    "\r",
    "\0",
    "#",
    "2024-05-01",
    "99999999999999999999",
];

fn text(random: &mut Random) -> String {
    (0..random.below(24)).map(|_| *random.pick(&PIECES)).collect()
}

#[test]
fn no_text_makes_it_panic() {
    let manifests = [manifest(), manifest_of::<Needy>(Value::Null)];
    let names =
        ["CAMERA_FPS", "CAMERA", "ZMQ", "STYLE", "EXTRA", "WORKERS", "NAME", "SOURCE_DEVICE"];
    for seed in 0..400 {
        let random = &mut Random(seed);
        let file = ServiceFile::parse("core", Path::new("core.toml"), &text(random));
        let variables: BTreeMap<_, _> = names
            .iter()
            .filter(|_| random.chance())
            .map(|name| format!("EXPERIMANCE_{name}"))
            .collect::<Vec<_>>()
            .into_iter()
            .map(|name| (name, text(random)))
            .collect();
        let sets: Vec<_> = (0..3)
            .filter_map(|_| {
                Override::parse(&format!("core.{}={}", text(random), text(random))).ok()
            })
            .collect();
        let resolved = resolve(&file, random.pick(&manifests), &variables, &sets);
        let (_, mut problems) = endpoints::endpoints([(&resolved.value, &resolved.origins)]);
        problems.extend(resolved.problems);
        for problem in problems {
            assert!(!problem.message.contains('\n'), "seed {seed}: {}", problem.message);
        }
    }
}

#[test]
fn what_is_found_good_is_good_for_the_plugin() {
    let mut good = 0;
    for seed in 0..400 {
        let random = &mut Random(seed);
        let lines = [
            "work_interval = 2",
            "work_interval = 0",
            "camera.fps = 3",
            "camera.fps = 3.0",
            "camera.roi = [1, 2]",
            "retries = 5",
            "retries = 65536",
            "style = \"morph\"",
            "source = {kind = \"file\", path = \"x\", looping = true}",
            "source.device = 256",
            "workers.a.fps = 1",
            "workers.a = 1",
            "zmq.subscriber.topics = [\"\"]",
            "offset = -1",
            "zmq.publisher.socket_options.SNDHWM = 5",
            "extra = [1, {a = 2}]",
            "tags = []",
            "stages = [{}, {fps = 9}]",
            "backup = {}",
            "camera.lens = 1",
        ];
        let file: Vec<_> = lines.iter().filter(|_| random.below(8) == 0).copied().collect();
        let resolved = resolve_with(&manifest(), &file.join("\n"), &[], &[]);
        let read: Result<Config, _> = serde_json::from_value(resolved.value);
        if resolved.problems.is_empty() {
            good += 1;
            assert!(read.is_ok(), "seed {seed}: {file:?}: {read:?}");
        } else if let Ok(config) = read {
            // What only the schema knows: ranges, and keys that serde would pass over.
            let is_syntax =
                resolved.problems.iter().any(|problem| problem.message.starts_with("is not TOML"));
            let ranges =
                is_syntax || config.work_interval < 0.1 || file.contains(&"camera.lens = 1");
            assert!(ranges, "seed {seed}: {file:?}: {:?}", resolved.problems);
        }
    }
    assert!(good > 60, "only {good} configurations were good; the test shows little");
}

#[test]
fn the_highest_layer_that_speaks_wins() {
    for seed in 0..500 {
        let random = &mut Random(seed);
        let fields = ["camera.fps", "backup.fps", "workers.a.fps"];
        let field = *random.pick(&fields);
        let mut wins = Origin::Default;
        // The map has its key in every case, so that a variable can reach it.
        let mut toml = "workers.a = {auto = true}\n".to_owned();
        let mut expected = (field != "backup.fps").then_some(30);
        if random.chance() {
            toml = format!("{field} = 10\n");
            toml.push_str(if field == "workers.a.fps" { "" } else { "[workers.a]\nauto = true\n" });
            expected = Some(10);
        }
        let variable = format!("EXPERIMANCE_{}", field.to_uppercase().replace('.', "_"));
        let mut variables = Vec::new();
        if random.chance() {
            variables.push((variable.as_str(), "20"));
            expected = Some(20);
            wins = Origin::Env { name: variable.clone() };
        }
        let (mut sets, set) = (Vec::new(), format!("core.{field}=40"));
        if random.chance() {
            sets.push(set.as_str());
            expected = Some(40);
            wins = Origin::Set { argument: format!("core.{field}") };
        }
        let resolved = resolve_with(&manifest(), &toml, &variables, &sets);
        assert_eq!(told(&resolved), [] as [&str; 0], "seed {seed}");
        let path = KeyPath::of_keys(field.split('.'));
        let found = path.find(&resolved.value).and_then(Value::as_u64);
        assert_eq!(found, expected, "seed {seed}: {field}");
        if wins != Origin::Default {
            assert_eq!(*resolved.origins.get(&path), wins, "seed {seed}");
        }
    }
}
