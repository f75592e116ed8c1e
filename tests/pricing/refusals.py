"""Bad files, and how the message about each begins: line, column, key, reason."""

BAD = [
    # unknown keys, each in its table, with what was probably meant
    ("curency = 'USD'", "1:1: curency: unknown key: did you mean 'currency'?"),
    ("zzz = 1", "1:1: zzz: unknown key"),
    (
        "[models.m]\ninput = 1\n  ouput = 2",
        ("3:3: models.m.ouput: unknown key: did you mean 'output'?"),
    ),
    (
        "[models.m]\ninput = { prize = 1, price = 2 }",
        ("2:11: models.m.input.prize: unknown key: did you mean 'price'?"),
    ),
    (
        (
            "[models.m]\ninput = 1\n[[models.m.versions]]\neffective_from"
            " = 2026-12-01\npackage_size = 1"
        ),
        (
            "5:1: models.m.versions[1].package_size: unknown key: a"
            " version holds prices; package_size "
            "and rounding hold for the whole model"
        ),
    ),
    (
        "[models.m]\ninput = 1\n[[models.m.versions]]\neffective_from = 2026-12-01\nmatch = []",
        (
            "5:1: models.m.versions[1].match: unknown key: a version"
            " holds prices; package_size and "
            "rounding hold for the whole model"
        ),
    ),
    ("[plans.p]\nlimits = { spend = 1 }", "2:12: plans.p.limits.spend: unknown key"),
    (
        "[models.m]\ninput = 1\n[plans.p]\nmodels.m.match = []",
        "4:10: plans.p.models.m.match: unknown key",
    ),
    (
        "[models.m]\ninput = 1\nlong_context = { above = 1, images = 2 }",
        "3:29: models.m.long_context.images: unknown key",
    ),
    # numbers that are none
    ("[models.m]\ninput = -3", "2:1: models.m.input: must not be negative: -3"),
    ("[models.m]\ninput = nan", "2:1: models.m.input: must be a finite number, not NaN"),
    ("[models.m]\ninput = -inf", "2:1: models.m.input: must be a finite number, not -Infinity"),
    ("[models.m]\ninput = true", "2:1: models.m.input: must be a number, not true"),
    (
        "[models.m]\ninput = '15.00'",
        ("2:1: models.m.input: must be a number, not '15.00' (without quotes)"),
    ),
    ("[models.m]\ninput = 'free'", "2:1: models.m.input: must be a number, not 'free'"),
    ("[models.m]\ninput = [1]", "2:1: models.m.input: must be a number, not a list"),
    ("[models.m]\ninput = 1e9", "2:1: models.m.input: is absurd: 1E+9 (at most 1000000)"),
    (
        "[models.m]\ninput = 0.0000000000001",
        "2:1: models.m.input: has more than 12 decimal places: 1E-13",
    ),
    (
        "package_size = 0",
        ("1:1: package_size: must be a whole number from 1 to 1_000_000_000, not 0"),
    ),
    (
        "package_size = 1.5",
        ("1:1: package_size: must be a whole number from 1 to 1_000_000_000, not 1.5"),
    ),
    (
        "package_size = true",
        ("1:1: package_size: must be a whole number from 1 to 1_000_000_000, not true"),
    ),
    (
        f"package_size = {'9' * 99}",
        (
            "1:1: package_size: must be a whole number from 1 to "
            "1_000_000_000, not a number of more than 30 digits"
        ),
    ),
    (
        "package_size = {}",
        ("1:1: package_size: must be a whole number from 1 to 1_000_000_000, not a table"),
    ),
    ("[plans.p]\nmarkup = 0", "2:1: plans.p.markup: must be more than 0, not 0"),
    ("[plans.p]\nmarkup = 101", "2:1: plans.p.markup: is absurd: 101 (at most 100)"),
    (
        "[models.m]\ninput = 1\nservice_tiers = { flex = 0 }",
        "3:19: models.m.service_tiers.flex: must be more than 0, not 0",
    ),
    # words
    ("rounding = 'down'", '1:1: rounding: must be one of "none", "up", not \'down\''),
    (
        "unpriced = 'rejct'",
        ("1:1: unpriced: must be one of \"flag\", \"reject\", not 'rejct': did you mean 'reject'?"),
    ),
    ("unpriced = 1", '1:1: unpriced: must be one of "flag", "reject", not 1'),
    (
        f"rounding = '{'x' * 99}'",
        (f'1:1: rounding: must be one of "none", "up", not \'{"x" * 39}…'),
    ),
    ("currency = 'usd'", "1:1: currency: must be an ISO 4217 code such as \"USD\", not 'usd'"),
    ("currency = 1", "1:1: currency: must be a text in quotes, not 1"),
    (
        "timezone = 'Berlin'",
        (
            "1:1: timezone: 'Berlin' is not a timezone: write an IANA name such "
            "as 'Europe/Berlin' or 'UTC'"
        ),
    ),
    (
        "[plans.p]\ncurrency = 'EUR'",
        ("2:1: plans.p.currency: must be the file's, 'USD': a file has one currency"),
    ),
    # names
    (
        "[models.m]\ninput = 1\nmatch = 'x'",
        ('3:1: models.m.match: must be a list of texts such as ["a", "b-*"], not \'x\''),
    ),
    (
        "[models.m]\ninput = 1\nmatch = [\n 'x',\n 7]",
        "5:2: models.m.match[2]: must be a text in quotes, not 7",
    ),
    (
        "[models.m]\ninput = 1\nmatch = ['m']",
        ("3:10: models.m.match[1]: 'm' is the name of an entry already, which comes first"),
    ),
    (
        "[models.a]\ninput = 1\nmatch = ['x*y']\n[models.b]\ninput = 1\nmatch = ['z', 'xy*']",
        "6:15: models.b.match[2]: 'xy*' ties with 'x*y' of 'a': some name fits both",
    ),
    (
        "[models.'m-*']\ninput = 1",
        ('1:9: models."m-*": is no name of a model: a glob belongs into match = ["…"] of an entry'),
    ),
    (
        "[models.'']\ninput = 1",
        ('1:9: models."": is no name of a model: a glob belongs into match = ["…"] of an entry'),
    ),
    (
        "[models.o1]\ninput = 1\n[plans.p]\nmodels.o2.input = 1",
        "4:8: plans.p.models.o2: is no entry of [models]: did you mean 'o1'?",
    ),
    (
        "[models.o1]\ninput = 1\n[plans.p]\nallowed_models = ['o1*', 'x*', 'o2']",
        "4:26: plans.p.allowed_models[2]: no entry of [models] matches 'x*'",
    ),
    # shapes
    ("models = 3", "1:1: models: must be a table, not 3"),
    ("models.m = 3", "1:8: models.m: must be a table, not 3"),
    ("[models.m]", "1:9: models.m: has no price: write 0 for what is free"),
    (
        "[models.m]\ncontext_window = 0\ninput = 1",
        ("2:1: models.m.context_window: must be a whole number from 1 to 1_000_000_000, not 0"),
    ),
    (
        "[models.m]\ninput = 1\nversions = 3",
        "3:1: models.m.versions: must be a list of tables, not 3",
    ),
    (
        "[models.m]\ninput = 1\nservice_tiers = 0.5",
        "3:1: models.m.service_tiers: must be a table, not 0.5",
    ),
    (
        "[models.m]\ninput = 1\ntool_calls = { a = -1 }",
        ("3:16: models.m.tool_calls.a: must not be negative: -1"),
    ),
    (
        "[models.m]\ninput = 1\nimages = { '*' = -1 }",
        ('3:12: models.m.images."*": must not be negative: -1'),
    ),
    ("[models.m]\ntool_calls = 3", "2:1: models.m.tool_calls: must be a table, not 3"),
    (
        "[models.m]\nimages = { hd = 3 }",
        ('2:12: models.m.images.hd: must be quality/size such as "hd/1024x1024", "hd/*" or "*"'),
    ),
    (
        "[models.m]\naudio_seconds = { price = 1, per = 'day' }",
        (
            '2:30: models.m.audio_seconds.per: must be one of "second", "minute", "hour", '
            "not 'day'"
        ),
    ),
    (
        "[models.m]\naudio_seconds = { price = 1, per = 'hour', package_size = 2 }",
        "2:44: models.m.audio_seconds.package_size: can't stand beside per, which says it",
    ),
    (
        "[models.m]\ninput = { free_units = 3 }",
        "2:1: models.m.input: needs a price, or mode and tiers",
    ),
    ("[models.m]\ninput = { price = -1 }", "2:11: models.m.input.price: must not be negative: -1"),
    # tiers
    (
        "[models.m]\ninput = { mode = 'volume' }",
        ("2:1: models.m.input: needs tiers: a list such as [{ up_to = 10, price = 2 }, …]"),
    ),
    (
        "[models.m]\ninput = { tiers = [{ price = 1 }] }",
        '2:1: models.m.input: tiers need a mode: "graduated" or "volume"',
    ),
    (
        "[models.m]\ninput = { price = 1, mode = 'volume', tiers = [{ price = 1 }] }",
        "2:11: models.m.input.price: can't stand beside tiers: write it in each tier",
    ),
    (
        "[models.m]\ninput = { free_units = 1, mode = 'volume', tiers = [{ price = 1 }] }",
        (
            "2:11: models.m.input.free_units: can't stand beside tiers:"
            " write it as a first tier at "
            "price 0"
        ),
    ),
    (
        "[models.m]\ninput = { mode = 'volume', tiers = [{ up_to = 1, price = 1 }] }",
        "2:39: models.m.input.tiers[1].up_to: the last tier must not have an up_to",
    ),
    (
        "[models.m]\ninput = { mode = 'volume', tiers = [{ price = 1 }, { price = 1 }] }",
        "2:37: models.m.input.tiers[1].up_to: every tier but the last must have an up_to",
    ),
    (
        (
            "[models.m]\ninput = { mode = 'volume', tiers = [{ up_to = 5, price = 1 }, "
            "{ up_to = 5, price = 1 }, { price = 1 }] }"
        ),
        "2:65: models.m.input.tiers[2].up_to: must be more than the tier before: 5 after 5",
    ),
    (
        "[models.m]\ninput = { mode = 'volume', tiers = [{}] }",
        "2:37: models.m.input.tiers[1]: needs a price",
    ),
    # classes and service tiers
    (
        "[models.m]\ninput = 1\nlong_context = { input = 2 }",
        ("3:1: models.m.long_context: needs above: the input tokens over which it holds"),
    ),
    (
        (
            "[models.m]\ninput = 1\nlong_context = [{ above = 1, input ="
            " 2 }, { above = 1, input = 3 }]"
        ),
        "3:45: models.m.long_context[2].above: is the threshold of another class, too",
    ),
    (
        "[models.m]\ninput = 1\nservice_tiers = { fast = 2 }",
        ("3:19: models.m.service_tiers.fast: is billed as 'priority': write its prices there"),
    ),
    (
        "[models.m]\ninput = 1\nservice_tiers = { default = { input = 2 } }",
        "3:19: models.m.service_tiers.default: is billed as 'default': write its prices there",
    ),
    (
        (
            "[models.m]\ninput = 1\nservice_tiers = { flex = {"
            " long_context = { above = 7, input = 1 } } }"
        ),
        (
            "3:28: models.m.service_tiers.flex.long_context: above 7 is"
            " no class of the model itself: "
            "give it one first"
        ),
    ),
    (
        (
            "[models.m]\ninput = 1\n[[models.m.versions]]\neffective_from = 2027-01-01\n"
            "service_tiers = { flex = { long_context = { above = 7, input = 1 } } }"
        ),
        (
            "5:28: models.m.versions[1].service_tiers.flex.long_context: above 7 is"
            " no class of the model itself: give it one first"
        ),
    ),
    (
        (
            "[models.m]\ninput = 1\nlong_context = { above = 8, input = 1 }\n[plans.p.models.m]\n"
            "service_tiers = { flex = { long_context = { above = 7, input = 1 } } }"
        ),
        (
            "5:28: plans.p.models.m.service_tiers.flex.long_context: above 7 is"
            " no class of the model itself: give it one first"
        ),
    ),
    # dates
    (
        "[models.m]\ninput = 1\n[[models.m.versions]]\ninput = 2",
        "3:12: models.m.versions[1]: needs effective_from: a date such as 2026-12-01",
    ),
    (
        "[models.m]\ninput = 1\n[[models.m.versions]]\ninput = 2\neffective_from = '2026-12-01'",
        (
            "5:1: models.m.versions[1].effective_from: must be a date"
            " such as 2026-12-01 or a time such "
            "as 2026-12-01T00:00:00Z, without quotes"
        ),
    ),
    (
        "[models.m]\ninput = 1\n[[models.m.versions]]\ninput = 2\neffective_from = 12:00:00",
        (
            "5:1: models.m.versions[1].effective_from: must be a date"
            " such as 2026-12-01 or a time such "
            "as 2026-12-01T00:00:00Z, without quotes"
        ),
    ),
    (
        (
            "[models.m]\ninput = 1\n[[models.m.versions]]\ninput = 2\neffective_from = "
            "2026-12-01T00:10:00Z"
        ),
        (
            "5:1: models.m.versions[1].effective_from: must be on a quarter hour "
            "(UTC), not 2026-12-01T00:10:00Z"
        ),
    ),
    (
        (
            "[models.m]\ninput = 1\n[[models.m.versions]]\ninput = 2\neffective_from = "
            "2026-12-01T00:15:00.5Z"
        ),
        (
            "5:1: models.m.versions[1].effective_from: must be on a quarter "
            "hour (UTC), not 2026-12-01T00:15:00.500000Z"
        ),
    ),
    (
        (
            "timezone = 'Europe/Berlin'\n[models.m]\ninput = 1\n[[models.m.versions]]\ninput = 2\n"
            "effective_from = 0001-01-01"
        ),
        ("6:1: models.m.versions[1].effective_from: is too far away: 0001-01-01"),
    ),
    (
        (
            "[models.m]\ninput = 1\n[[models.m.versions]]\ninput = 2\neffective_from = 2026-12-01\n"
            "[[models.m.versions]]\ninput = 2\neffective_from = 2026-12-01T00:00:00Z"
        ),
        "8:1: models.m.versions[2].effective_from: is the date of another version, too",
    ),
    # limits
    (
        "[plans.p]\nlimits = { spend_total = -1 }",
        "2:12: plans.p.limits.spend_total: must not be negative: -1",
    ),
    (
        "[plans.p]\nlimits = { tokens_per_minute = 0 }",
        (
            "2:12: plans.p.limits.tokens_per_minute: "
            "must be a whole number from 1 to 1_000_000_000, not 0"
        ),
    ),
    (
        "[plans.p]\nlimits = { soft_thresholds = [1.5] }",
        (
            "2:12: plans.p.limits.soft_thresholds: "
            "must be a list of parts of the limits, from 0 to 1, such as [0.5, 0.8]"
        ),
    ),
    (
        "[plans.p]\nlimits = { soft_thresholds = 0.5 }",
        (
            "2:12: plans.p.limits.soft_thresholds: "
            "must be a list of parts of the limits, from 0 to 1, such as [0.5, 0.8]"
        ),
    ),
    # not TOML
    ("[models.m]\ninput = ", "2:9: not valid TOML: Invalid value"),
    ("[models.m]\ninput = 1\ninput = 2", "3:10: not valid TOML: Cannot overwrite a value"),
    ('currency = "USD', "1:16: not valid TOML: Unterminated string"),
    ("b = 1\na = " + "[" * 2000, "2:25: not valid TOML: tables or lists nested too deeply"),
    ("a = " + "[[],\n" * 2000, "20:2: not valid TOML: tables or lists nested too deeply"),
    (
        f"a = '{']' * 2000}'\nb = {'[' * 2000}",
        "1:1: not valid TOML: tables or lists nested too deeply",
    ),
    ("a = 2026-13-45", "1:9: not valid TOML: Expected newline"),
    ("b = 1\na = 1" + "0" * 5000, "2:5: not valid TOML: a number with too many digits"),
    ("b = 1\na = 1e-9999999999999999999", "2:5: not valid TOML: a number with too many digits"),
]
