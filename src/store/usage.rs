//! What runs have used: sums over the runs that ended in a span of time. What is past retention is kept as sums by quarters of an hour.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::error::StoreError;
use super::op::{Found, Query};
use super::sql_read::ms;
use super::{Store, mismatch};
use crate::protocol::ids::{AgentId, SessionKey};
use crate::protocol::usage::{TokenCost, TokenUsage};

/// Which runs are added up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageFilter {
    /// Ended at or after this time, ms since the epoch.
    pub from: u64,
    /// Ended before this time.
    pub to: u64,
    /// Only of this session.
    pub session: Option<SessionKey>,
    /// A sum for each session, the one whose run ended last first; else one for all.
    pub by_session: bool,
}

/// Sums over runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UsageSum {
    /// Their session; of a sum over all, none.
    pub session: Option<(SessionKey, AgentId)>,
    /// How many runs ended.
    pub runs: u64,
    /// How many of them did not end well.
    pub failed: u64,
    /// How many were commands of the shell runner.
    pub commands: u64,
    /// How long they worked, ms.
    pub duration_ms: u64,
    /// Processor time that they used, ms.
    pub cpu_ms: u64,
    /// Bytes that they printed.
    pub output_bytes: u64,
    /// Tokens of their models, and what those cost as far as prices are known.
    pub tokens: TokenUsage,
    /// How many runs asked models whose price is not known.
    pub unpriced: u64,
    /// When the first of them ended, ms since the epoch; 0 = there is none.
    pub first_at: u64,
    /// When the last of them ended.
    pub last_at: u64,
}

impl UsageSum {
    /// Adds another sum to this one.
    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.failed += other.failed;
        self.commands += other.commands;
        self.duration_ms += other.duration_ms;
        self.cpu_ms += other.cpu_ms;
        self.output_bytes += other.output_bytes;
        self.tokens.add(&other.tokens);
        self.unpriced += other.unpriced;
        self.first_at = if self.first_at == 0 { other.first_at } else { self.first_at.min(other.first_at) };
        self.last_at = self.last_at.max(other.last_at);
    }
}

impl Store {
    /// Sums over the runs that a filter lets through; without `by_session` exactly one.
    ///
    /// # Errors
    /// See [`Self::run`].
    pub async fn usage(&self, filter: UsageFilter) -> Result<Vec<UsageSum>, StoreError> {
        match self.ask(Query::Usage(filter)).await? {
            Found::Usage(sums) => Ok(sums),
            other => Err(mismatch(&other)),
        }
    }
}

/// Columns of sums over tokens, with their keys in an outcome's usage.
const TOKENS: [(&str, &str); 4] =
    [("input_tokens", "input"), ("output_tokens", "output"), ("cache_read_tokens", "cacheRead"), ("cache_write_tokens", "cacheWrite")];
/// Columns of sums over costs, with their keys in the cost of an outcome's usage.
const COSTS: [(&str, &str); 5] = [
    ("input_cost", "input"),
    ("output_cost", "output"),
    ("cache_read_cost", "cacheRead"),
    ("cache_write_cost", "cacheWrite"),
    ("total_cost", "total"),
];

/// A quarter of an hour, ms: the day of every time zone is made of them.
const QUARTER: u64 = 15 * 60 * 1000;
/// How long sums of forgotten runs are kept, ms: beyond the longest question.
const KEPT: u64 = 400 * 24 * 60 * 60 * 1000;

/// The columns of sums, and what a run adds to each.
fn columns() -> Vec<(&'static str, String)> {
    let of = |key: &str| format!("coalesce(json_extract(outcome, '$.{key}'), 0)");
    let has = |key: &str| format!("json_extract(outcome, '$.{key}') IS NOT NULL");
    let tokens = TOKENS.iter().map(|(name, key)| (*name, of(&format!("usage.{key}"))));
    let costs = COSTS.iter().map(|(name, key)| (*name, format!("coalesce(json_extract(outcome, '$.usage.cost.{key}'), 0.0)")));
    let counts = [
        ("priced", has("usage.cost.total")),
        ("asked", has("usage")),
        ("runs", "1".to_owned()),
        ("failed", "status <> 'ok'".to_owned()),
        ("commands", "runner = 'shell'".to_owned()),
        ("duration_ms", of("durationMs")),
        ("cpu_ms", of("cpuMs")),
        ("output_bytes", format!("{} + {}", of("stdoutBytes"), of("stderrBytes"))),
    ];
    tokens.chain(costs).chain(counts).collect()
}

/// Adds what these runs have used to the sums that stay. To be called before they are deleted, in the same transaction.
///
/// # Errors
/// A statement failed.
pub(super) fn keep(conn: &Connection, file_ids: &[String]) -> rusqlite::Result<()> {
    let columns = columns();
    let join = |of: fn(&(&'static str, String)) -> String| columns.iter().map(of).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "INSERT INTO usage_past (quarter, session_key, agent_id, {}, first_at, last_at)
         SELECT ended_at / {QUARTER} * {QUARTER}, session_key, agent_id, {}, ended_at, ended_at FROM runs WHERE file_id = ?1 AND ended_at IS NOT NULL
         ON CONFLICT (quarter, session_key) DO UPDATE SET {}, first_at = min(first_at, excluded.first_at), last_at = max(last_at, excluded.last_at)",
        join(|(name, _)| (*name).to_owned()),
        join(|(_, of)| of.clone()),
        join(|(name, _)| format!("{name} = {name} + excluded.{name}")),
    );
    let mut statement = conn.prepare_cached(&sql)?;
    for file_id in file_ids {
        statement.execute([file_id])?;
    }
    let old = format!("DELETE FROM usage_past WHERE quarter < (SELECT max(quarter) FROM usage_past) - {KEPT}");
    conn.prepare_cached(&old)?.execute([]).map(drop)
}

/// Answers [`Query::Usage`].
///
/// # Errors
/// A statement failed.
pub(super) fn read(conn: &Connection, filter: &UsageFilter) -> rusqlite::Result<Vec<UsageSum>> {
    let mut values = vec![Value::Integer(ms(filter.from)), Value::Integer(ms(filter.to))];
    let mut of_session = "";
    if let Some(session) = &filter.session {
        of_session = " AND session_key = ?3";
        values.push(Value::Text(session.0.clone()));
    }
    let (names, group) = if filter.by_session {
        ("session_key, max(agent_id) AS agent_id", " GROUP BY session_key ORDER BY max(last_at) DESC, session_key")
    } else {
        ("NULL AS session_key, NULL AS agent_id", "")
    };
    let columns = columns();
    let join = |of: fn(&(&'static str, String)) -> String| columns.iter().map(of).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "SELECT {names}, {}, coalesce(min(first_at), 0) AS first_at, coalesce(max(last_at), 0) AS last_at FROM (
           SELECT session_key, agent_id, {}, ended_at AS first_at, ended_at AS last_at FROM runs WHERE ended_at >= ?1 AND ended_at < ?2{of_session}
           UNION ALL
           SELECT session_key, agent_id, {}, first_at, last_at FROM usage_past WHERE quarter >= ?1 AND quarter < ?2{of_session}
         ){group}",
        join(|(name, _)| format!("coalesce(sum({name}), 0) AS {name}")),
        join(|(name, of)| format!("{of} AS {name}")),
        join(|(name, _)| (*name).to_owned()),
    );
    conn.prepare_cached(&sql)?.query_map(params_from_iter(values), sum)?.collect()
}

fn sum(row: &Row<'_>) -> rusqlite::Result<UsageSum> {
    let number = |name: &str| row.get::<_, i64>(name).map(|n| u64::try_from(n).unwrap_or(0));
    let key: Option<String> = row.get("session_key")?;
    let session = match key {
        Some(key) => Some((SessionKey(key), AgentId(row.get("agent_id")?))),
        None => None,
    };
    let dollars = |name: &str| row.get::<_, f64>(name);
    let (priced, asked) = (number("priced")?, number("asked")?);
    let cost = TokenCost {
        input: dollars("input_cost")?,
        output: dollars("output_cost")?,
        cache_read: dollars("cache_read_cost")?,
        cache_write: dollars("cache_write_cost")?,
        total: dollars("total_cost")?,
    };
    Ok(UsageSum {
        tokens: TokenUsage {
            input: number("input_tokens")?,
            output: number("output_tokens")?,
            cache_read: number("cache_read_tokens")?,
            cache_write: number("cache_write_tokens")?,
            cost: (priced > 0).then_some(cost),
        },
        unpriced: asked.saturating_sub(priced),
        session,
        runs: number("runs")?,
        failed: number("failed")?,
        commands: number("commands")?,
        duration_ms: number("duration_ms")?,
        cpu_ms: number("cpu_ms")?,
        output_bytes: number("output_bytes")?,
        first_at: number("first_at")?,
        last_at: number("last_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ids::RunId;
    use crate::protocol::run::{Outcome, RunStatus};
    use crate::store::record::{Accepted, NewRun};

    async fn ended(store: &Store, key: &str, status: RunStatus, at: u64) {
        let new = NewRun {
            file_id: uuid::Uuid::new_v4().simple().to_string(),
            run_id: RunId::fresh(),
            principal: "p".into(),
            method: "agent",
            key: None,
            digest: [0; 32],
            session_key: key.into(),
            agent_id: "main".into(),
            runner: "shell".into(),
            title: String::new(),
            spec: String::new(),
            accepted_at: 1,
            queue: None,
        };
        let Ok(Accepted::New(run)) = store.accept_run(new).await else { panic!("not accepted") };
        let mut outcome = Outcome::without_work(status, None, "x", at);
        if key == "a" {
            let cost = (at == 10).then_some(TokenCost { input: 0.5, total: 0.5, ..TokenCost::default() });
            outcome.usage = Some(TokenUsage { input: 100, output: 7, cost, ..TokenUsage::default() });
        }
        (outcome.duration_ms, outcome.cpu_ms, outcome.stdout_bytes, outcome.stderr_bytes) = (100, 30, 5, 2);
        store.finish_run(&run.file_id, outcome, 3).await.unwrap();
    }

    #[tokio::test]
    async fn runs_are_added_up_over_a_span_and_by_session() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("state.db")).unwrap();
        let all = |from, to| UsageFilter { from, to, session: None, by_session: false };
        assert_eq!(store.usage(all(0, 1000)).await.unwrap(), [UsageSum::default()]);
        for (key, status, at) in [("a", RunStatus::Ok, 10), ("b", RunStatus::Error, 20), ("a", RunStatus::Ok, 30)] {
            ended(&store, key, status, at).await;
        }
        let sum = store.usage(all(10, 30)).await.unwrap().remove(0);
        let counted = (sum.runs, sum.failed, sum.duration_ms, sum.cpu_ms, sum.output_bytes, sum.first_at, sum.last_at);
        assert_eq!(counted, (2, 1, 200, 60, 14, 10, 20), "from is in the span, to is not");
        let by_session = store.usage(UsageFilter { by_session: true, ..all(0, 1000) }).await.unwrap();
        let rows: Vec<_> = by_session.iter().map(|sum| (sum.session.as_ref().unwrap().0.as_str(), sum.runs, sum.commands)).collect();
        assert_eq!(rows, [("a", 2, 2), ("b", 1, 1)]);
        let tokens = &by_session[0].tokens;
        assert_eq!((tokens.input, tokens.output, tokens.cost.map(|cost| cost.total), by_session[0].unpriced), (200, 14, Some(0.5), 1));
        assert_eq!((by_session[1].tokens, by_session[1].unpriced), (TokenUsage::default(), 0));
        let one = store.usage(UsageFilter { session: Some("b".into()), ..all(0, 1000) }).await.unwrap();
        assert_eq!((one[0].runs, &one[0].session), (1, &None));
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn what_forgotten_runs_have_used_stays_in_the_sums_of_their_days_and_sessions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        let store = Store::open(&path).unwrap();
        let at = |n: u64| n * QUARTER + 10;
        for (key, when) in [("a", at(1)), ("a", at(1) + 5), ("b", at(2)), ("a", at(3))] {
            ended(&store, key, RunStatus::Ok, when).await;
        }
        let filters = [
            UsageFilter { from: 0, to: at(9), session: None, by_session: false },
            UsageFilter { from: QUARTER, to: 2 * QUARTER, session: None, by_session: false },
            UsageFilter { from: 0, to: at(9), session: None, by_session: true },
            UsageFilter { from: 0, to: at(9), session: Some("a".into()), by_session: false },
        ];
        let mut before = Vec::new();
        for filter in &filters {
            before.push(store.usage(filter.clone()).await.unwrap());
        }
        let runs = store.runs(crate::store::record::RunFilter::default()).await.unwrap().runs;
        let gone: Vec<String> = runs.into_iter().map(|run| run.file_id).collect();
        for some in gone.chunks(3) {
            store.forget_runs(some.to_vec()).await.unwrap();
        }
        // Forgotten once more, they count no more.
        assert_eq!(store.forget_runs(gone).await.unwrap(), 0);
        store.close().await.unwrap();
        let store = Store::open(&path).unwrap();
        for (filter, before) in filters.iter().zip(before) {
            assert_eq!(store.usage(filter.clone()).await.unwrap(), before, "{filter:?}");
        }
        assert!(store.runs(crate::store::record::RunFilter::default()).await.unwrap().runs.is_empty());
    }
}
