using System.Text;
using System.Text.Json;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Marten;
using Cowork.Testing;

using Microsoft.Extensions.DependencyInjection;

using Npgsql;


namespace Cowork.Web.Tests;

/// <summary>
/// A log that somebody changes who has the database to himself: the superuser, with the trigger that keeps the log switched off. Each change is undone after it was found.
/// </summary>
public sealed class LogVerifierSpecs(LogVerifierSpecs.WrittenLog log) : IClassFixture<LogVerifierSpecs.WrittenLog>
{
    const int ChangesMax = 400;

    /// <summary>Changes of one byte, or of one value, of one row of the log; each names the row by its position.</summary>
    static readonly string[] Changes =
    [
        "UPDATE cowork.mt_events SET type = overlay(type PLACING 'x' FROM 2) WHERE seq_id = $1",
        "UPDATE cowork.mt_events SET user_name = coalesce(user_name, '') || 'x' WHERE seq_id = $1",
        "UPDATE cowork.mt_events SET correlation_id = coalesce(correlation_id, '') || 'x' WHERE seq_id = $1",
        "UPDATE cowork.mt_events SET causation_id = coalesce(causation_id, '') || 'x' WHERE seq_id = $1",
        "UPDATE cowork.mt_events SET stream_id = overlay(stream_id PLACING '!' FROM length(stream_id)) WHERE seq_id = $1",
        "UPDATE cowork.mt_events SET tenant_id = tenant_id || 'x' WHERE seq_id = $1",
        "UPDATE cowork.mt_events SET version = version + 1000 WHERE seq_id = $1",
        "UPDATE cowork.mt_events SET id = overlay(id::text PLACING CASE WHEN right(id::text, 1) = '0' THEN '1' ELSE '0' END FROM 36)::uuid WHERE seq_id = $1",
        "UPDATE cowork.mt_events SET timestamp = timestamp + interval '1 millisecond' WHERE seq_id = $1",
        "UPDATE cowork.mt_events SET timestamp = timestamp + interval '1 microsecond' WHERE seq_id = $1",
        "UPDATE cowork.mt_events SET is_archived = true WHERE seq_id = $1",
        "UPDATE cowork.mt_events SET bdata = '\\x00' WHERE seq_id = $1",
        "UPDATE cowork.mt_events SET headers = headers - 'hash' WHERE seq_id = $1",
        "UPDATE cowork.mt_events SET headers = NULL WHERE seq_id = $1",
        "UPDATE cowork.mt_events SET headers = headers || '{\"more\": \"x\"}' WHERE seq_id = $1",
        "UPDATE cowork.mt_events SET headers = headers || '{\"session\": \"other\"}' WHERE seq_id = $1",
        "UPDATE cowork.mt_events SET headers = headers || '{\"run\": \"other\"}' WHERE seq_id = $1",
        "UPDATE cowork.mt_events SET headers = jsonb_set(headers, '{hash}', to_jsonb(translate(headers->>'hash', '0123456789abcdef', '123456789abcdef0'))) WHERE seq_id = $1",
        "DELETE FROM cowork.mt_events WHERE seq_id = $1",
    ];

    static readonly string[] FeedChanges =
    [
        "UPDATE cowork.feed SET session_id = session_id || 'x' WHERE gid = $1",
        "UPDATE cowork.feed SET tenant_id = tenant_id || 'x' WHERE gid = $1",
        "UPDATE cowork.feed SET run_id = coalesce(run_id, '') || 'x' WHERE gid = $1",
        "UPDATE cowork.feed SET feed_id = feed_id + 1000 WHERE gid = $1",
        "DELETE FROM cowork.feed WHERE gid = $1",
    ];

    public static TheoryData<int> Parts { get; } = [.. Enumerable.Range(1, 5)];

    [Fact]
    public async Task A_log_that_nobody_changed_is_sound()
    {
        var verdict = await log.Verify();
        Assert.Null(verdict.Fault);
        Assert.Equal(log.Rows.Count, verdict.State.Position);
        Assert.Equal(log.Heads[^1].Number, verdict.State.Head!.Number);
        Assert.Equal(log.Rows.Count - log.Heads[^1].Head.TreeSize, verdict.NotCovered);
        foreach (var at in (int[])[1, 17, log.Rows.Count / 2, log.Rows.Count])
        {
            // From any place on it comes to the same end.
            var part = MerkleOf(log.Leaves.Take(at));
            var inFeeds = log.Rows.Take(at).Count(row => row.FeedId is not null);
            var again = await log.Verify(new(at, [.. part.Nodes.Select(Convert.ToHexStringLower)], inFeeds, 0, log.Heads.LastOrDefault(head => head.Head.TreeSize <= at && head.Position <= at)));
            Assert.Null(again.Fault);
            Assert.Equal(verdict.State.Nodes, again.State.Nodes);
        }
    }

    [Theory]
    [MemberData(nameof(Parts))]
    public async Task One_changed_value_is_found_and_its_event_named(int part)
    {
        var random = new Random(Seeds.One(part));
        for (var i = 0; i < ChangesMax; i++)
        {
            var row = log.Rows[random.Next(log.Rows.Count)];
            var kind = random.Next(Changes.Length + FeedChanges.Length + 12);
            var what = kind < Changes.Length ? Changes[kind]
                : kind < Changes.Length + FeedChanges.Length && row.FeedId is not null ? FeedChanges[kind - Changes.Length]
                : null;
            var changed = what is null ? Flip(row.Data, random) : null;
            await log.Undone(async () =>
            {
                await (changed is null
                    ? log.Run(what!, row.Position)
                    : log.Run("UPDATE cowork.mt_events SET data = $2::jsonb WHERE seq_id = $1", row.Position, changed));
                var fault = (await log.Verify()).Fault;
                Assert.True(fault?.Position == row.Position, $"seed {part}, change {i} of event {row.Position} ({what ?? changed}): {fault}");
            });
        }
    }

    [Theory]
    [MemberData(nameof(Parts))]
    public async Task A_dropped_swapped_inserted_or_truncated_event_is_found_and_its_place_named(int part)
    {
        var random = new Random(Seeds.One(part + 100));
        for (var i = 0; i < ChangesMax / 4; i++)
        {
            var (one, other) = (random.Next(1, log.Rows.Count), random.Next(1, log.Rows.Count + 1));
            var (low, high) = one <= other ? (one, other) : (other, one);
            var kind = random.Next(4);
            if (kind == 1 && low == high)
            {
                continue;
            }
            await log.Undone(async () =>
            {
                switch (kind)
                {
                    case 0:
                        await log.Run("DELETE FROM cowork.mt_events WHERE seq_id = $1", low);
                        await log.Run("DELETE FROM cowork.feed WHERE gid = $1", low);
                        await Shift(low, -1);
                        break;
                    case 1:
                        await log.Run("UPDATE cowork.mt_events SET seq_id = -1 WHERE seq_id = $1", low);
                        await log.Run("UPDATE cowork.mt_events SET seq_id = $2 WHERE seq_id = $1", high, low);
                        await log.Run("UPDATE cowork.mt_events SET seq_id = $1 WHERE seq_id = -1", high);
                        await log.Run("UPDATE cowork.feed SET gid = $1 + $2 - gid WHERE gid IN ($1, $2)", low, high);
                        break;
                    case 2:
                        await Shift(low - 1, 1);
                        await log.Run(
                            """
                            INSERT INTO cowork.mt_events (seq_id, id, stream_id, version, data, type, timestamp, tenant_id, mt_dotnet_type, user_name, headers)
                            SELECT $1, gen_random_uuid(), stream_id || 'x', 1, data, type, timestamp, tenant_id, mt_dotnet_type, user_name, headers FROM cowork.mt_events WHERE seq_id = $2
                            """,
                            low, high + (high >= low ? 1 : 0));
                        break;
                    default:
                        await log.Run("DELETE FROM cowork.mt_events WHERE seq_id >= $1", low);
                        await log.Run("DELETE FROM cowork.feed WHERE gid >= $1", low);
                        await log.Run("UPDATE cowork.head SET gid = $1 - 1", low);
                        break;
                }
                var fault = (await log.Verify()).Fault;
                Assert.True(fault?.Position == low, $"seed {part}, change {i}, kind {kind}, {low} and {high}: {fault}");
            });
        }
    }

    [Theory]
    [MemberData(nameof(Parts))]
    public async Task Who_computes_all_hashes_anew_is_found_by_the_signed_heads(int part)
    {
        var random = new Random(Seeds.One(part + 200));
        for (var i = 0; i < ChangesMax / 8; i++)
        {
            var covered = (int)log.Heads[^1].Head.TreeSize;
            var row = log.Rows[random.Next(covered)];
            // Whoever recomputes the tree too leaves nothing but the heads to find it by.
            var withTree = random.Next(4) > 0;
            await log.Undone(async () =>
            {
                await log.Rewrite([.. log.Rows.Select(r => r == row ? r with { Data = Flip(r.Data, random) } : r)], withTree);
                var fault = (await log.Verify()).Fault;
                Assert.True(fault is not null && fault.Position <= row.Position && row.Position <= fault.Through, $"seed {part}, change {i} of event {row.Position}: {fault}");
                Assert.True(withTree || fault.Position == row.Position, $"seed {part}, change {i} of event {row.Position}: {fault}");
            });
        }
    }

    [Theory]
    [MemberData(nameof(Parts))]
    public async Task A_log_whose_end_was_taken_away_with_its_heads_is_found_by_heads_that_were_kept_elsewhere(int part)
    {
        var random = new Random(Seeds.One(part + 300));
        for (var i = 0; i < ChangesMax / 20; i++)
        {
            var left = random.Next(1, (int)log.Heads[^1].Head.TreeSize);
            await log.Undone(async () =>
            {
                await log.Rewrite([.. log.Rows.Take(left)], withTree: true);
                Assert.True((await log.Verify()).Fault is null == log.Heads.All(head => head.Position > left || head.Head.TreeSize <= left));
                var fault = (await log.Verify(outside: new(null, [.. log.Heads.Select(head => head.Head)]))).Fault;
                Assert.True(fault?.Position == left + 1, $"seed {part}, {left} events left: {fault}");
            });
        }
    }

    [Fact]
    public async Task Heads_of_a_key_that_is_not_pinned_are_none()
    {
        var none = new Dictionary<string, PublicKey>();
        Assert.Equal(log.Heads[0].Position, (await log.Verify(outside: new(none, []))).Fault?.Position);
    }

    [Theory]
    [InlineData("DELETE FROM cowork.merkle_tiles")]
    [InlineData("DELETE FROM cowork.merkle_tiles WHERE level = 1")]
    [InlineData("DELETE FROM cowork.merkle_tiles WHERE level = 0 AND number = 1")]
    [InlineData("UPDATE cowork.merkle_tiles SET number = number + 1000 WHERE level = 0")]
    [InlineData("UPDATE cowork.merkle_tiles SET hashes = set_byte(hashes, 32, get_byte(hashes, 32) # 1) WHERE level = 1")]
    [InlineData("UPDATE cowork.merkle_tiles SET hashes = hashes || hashes WHERE level = 1")]
    [InlineData("INSERT INTO cowork.merkle_tiles (level, number, hashes) VALUES (0, 1000, '\\x00')")]
    [InlineData("INSERT INTO cowork.merkle_tiles (level, number, hashes) VALUES (7, 0, '\\x00')")]
    [InlineData("UPDATE cowork.mt_streams SET is_archived = true WHERE id = (SELECT min(id) FROM cowork.mt_streams)")]
    [InlineData("UPDATE cowork.head SET gid = gid - 3")]
    [InlineData("UPDATE cowork.head SET gid = gid + 3")]
    public async Task What_is_derived_from_the_events_is_judged_too(string change) => await log.Undone(async () =>
    {
        await log.Run(change);
        var fault = (await log.Verify()).Fault;
        Assert.True(fault is not null && fault.Position <= fault.Through, $"{fault}");
    });

    [Fact]
    public async Task A_kept_head_that_was_changed_is_no_fault_of_the_log()
    {
        var kept = log.Heads[0].Head;
        var changed = kept with { RootHash = new('0', 64) };
        Assert.Null((await log.Verify(outside: new(null, [kept]))).Fault);
        Assert.Contains("kept outside", (await Assert.ThrowsAsync<InvalidDataException>(() => log.Verify(outside: new(null, [changed])))).Message, StringComparison.Ordinal);
        // A key that the log does not name tells nothing of the head, and the log is another one.
        var fault = (await log.Verify(outside: new(null, [changed with { Kid = "another" }]))).Fault;
        Assert.Equal((1, kept.TreeSize), (fault?.Position, fault?.Through));
    }

    async Task Shift(long after, int by)
    {
        foreach (var (table, column) in (ValueTuple<string, string>[])[("mt_events", "seq_id"), ("feed", "gid")])
        {
            // The way over negative numbers meets no number that is there.
            await log.Run($"UPDATE cowork.{table} SET {column} = -{column} WHERE {column} > $1", after);
            await log.Run($"UPDATE cowork.{table} SET {column} = -{column} + $1 WHERE {column} < 0", by);
        }
        await log.Run("UPDATE cowork.head SET gid = gid + $1", by);
    }

    /// <summary>The data with one character of one of its texts, names or numbers changed.</summary>
    static string Flip(string json, Random random)
    {
        while (true)
        {
            var at = random.Next(json.Length);
            var changed = json[at] switch
            {
                >= 'a' and < 'z' or >= 'A' and < 'Z' or >= '1' and < '9' => (char)(json[at] + 1),
                _ => '\0',
            };
            var candidate = changed == '\0' ? json : $"{json[..at]}{changed}{json[(at + 1)..]}";
            try
            {
                if (candidate != json && Encoding.UTF8.GetString(CanonicalJson.Of(Encoding.UTF8.GetBytes(candidate))) != json)
                {
                    return candidate;
                }
            }
            catch (JsonException)
            {
                // It was a word of JSON's, or a name that is there twice now.
            }
        }
    }

    static MerkleFrontier MerkleOf(IEnumerable<byte[]> leaves)
    {
        var tree = new MerkleFrontier();
        foreach (var leaf in leaves)
        {
            tree.Add(leaf);
        }
        return tree;
    }

    /// <summary>An event's row with its place in a feed.</summary>
    public sealed record LogRow(
        long Position, string Org, string Stream, long Version, Guid Id, string Type, string Data, DateTime At, string? Actor, string? Correlation, string? Causation, string Hash,
        string? Session, string? Run, long? FeedId);

    /// <summary>A log that a host wrote, with a head after each turn and some events after the last one. The host has stopped.</summary>
    public sealed class WrittenLog : IAsyncLifetime
    {
        NpgsqlConnection connection = null!;

        public List<LogRow> Rows { get; } = [];

        public List<NumberedHead> Heads { get; } = [];

        public List<byte[]> Leaves { get; private set; } = [];

        public async ValueTask InitializeAsync()
        {
            var database = await TestPostgres.NewDatabase();
            await using (var host = await LiveHost.Start(settings => settings with { Database = database }))
            {
                using var others = host.Client(await host.Token("acme", "admin", "member"));
                foreach (var http in (HttpClient[])[host.Http, others, host.Http])
                {
                    var session = await http.NewSession();
                    (await http.Turn(session, "/tool remember {\"content\":\"the sea is blue\"}\n/say hello")).Is(200);
                    (await http.Turn(session, "/say again")).Is(200);
                    await host.Services.GetRequiredService<AuditTree>().CatchUp(CancellationToken.None);
                    await host.Services.GetRequiredService<HeadSigner>().Sign(CancellationToken.None);
                }
                (await host.Http.Turn(await host.Http.NewSession(), "/say not covered")).Is(200);
                await host.Services.GetRequiredService<AuditTree>().CatchUp(CancellationToken.None);
                Heads.AddRange(await host.Services.GetRequiredService<AuditHeadLog>().After(0, 100, CancellationToken.None));
            }
            connection = new(database);
            await connection.OpenAsync();
            await Run("SET session_replication_role = replica");
            await Run("ALTER TABLE cowork.mt_events DISABLE TRIGGER keep_log");
            await using var ask = new NpgsqlCommand(
                """
                SELECT e.seq_id, e.tenant_id, e.stream_id, e.version, e.id, e.type, e.data::text, e.timestamp, e.user_name, e.correlation_id, e.causation_id, e.headers->>'hash',
                    f.session_id, f.run_id, f.feed_id FROM cowork.mt_events e LEFT JOIN cowork.feed f ON f.gid = e.seq_id ORDER BY e.seq_id
                """,
                connection);
            await using (var reader = await ask.ExecuteReaderAsync())
            {
                string? Text(int column) => reader.IsDBNull(column) ? null : reader.GetString(column);
                while (await reader.ReadAsync())
                {
                    Rows.Add(new(
                        reader.GetInt64(0), reader.GetString(1), reader.GetString(2), reader.GetInt64(3), reader.GetGuid(4), reader.GetString(5),
                        Encoding.UTF8.GetString(CanonicalJson.Of(Encoding.UTF8.GetBytes(reader.GetString(6)))), reader.GetDateTime(7), Text(8), Text(9), Text(10), reader.GetString(11),
                        Text(12), Text(13), reader.IsDBNull(14) ? null : reader.GetInt64(14)));
                }
            }
            // The host signed a last head when it stopped; the log that is changed ends before it.
            var last = Rows.FindLastIndex(row => row.Type == "head_signed.v1" && row.Version > Heads.Count);
            if (last >= 0)
            {
                Rows.RemoveRange(last, Rows.Count - last);
                await Cut(Rows.Count);
                await Rewrite([.. Rows], withTree: true);
            }
            Leaves = [.. Rows.Select(row => Leaf(row).LeafHash())];
        }

        public ValueTask DisposeAsync() => connection.DisposeAsync();

        public Task<LogVerdict> Verify(LogVerifierState? from = null, OutsideKnowledge? outside = null) =>
            new LogVerifier(connection, "cowork", "default", outside ?? OutsideKnowledge.None).Verify(from ?? LogVerifierState.Begin, CancellationToken.None, isTransaction: true);

        public async Task Undone(Func<Task> work)
        {
            await using var transaction = await connection.BeginTransactionAsync();
            await work();
            await transaction.RollbackAsync();
        }

        public async Task Run(string sql, params object[] parameters)
        {
            await using var command = new NpgsqlCommand(sql, connection);
            foreach (var parameter in parameters)
            {
                command.Parameters.Add(new() { Value = parameter is int number ? (long)number : parameter });
            }
            await command.ExecuteNonQueryAsync();
        }

        /// <summary>Writes the log anew with all hashes as they must be, in place of what is there, and everything that goes with it.</summary>
        /// <param name="withTree">The stored tree, too.</param>
        public async Task Rewrite(List<LogRow> rows, bool withTree)
        {
            var previous = new Dictionary<(string, string), string>();
            var (written, tree) = (new List<LogRow>(), new List<AuditEntry>());
            foreach (var row in rows)
            {
                var hash = HashChain.Next(
                    previous.GetValueOrDefault((row.Org, row.Stream), HashChain.Root), row.Org, row.Stream, row.Version, row.Id, row.Type, row.At, row.Actor ?? "",
                    CanonicalJson.Of(Encoding.UTF8.GetBytes(row.Data)));
                previous[(row.Org, row.Stream)] = hash;
                written.Add(row with { Hash = hash });
                tree.Add(new(Leaf(row with { Hash = hash }), row.Id));
            }
            var changed = written.Where(row => row.Position > Rows.Count || row != Rows[(int)row.Position - 1]).ToList();
            await Run(
                """
                UPDATE cowork.mt_events e SET data = u.data::jsonb, headers = jsonb_set(e.headers, '{hash}', to_jsonb(u.hash))
                FROM unnest($1, $2, $3) u (seq_id, data, hash) WHERE e.seq_id = u.seq_id
                """,
                changed.Select(row => row.Position).ToArray(), changed.Select(row => row.Data).ToArray(), changed.Select(row => row.Hash).ToArray());
            if (rows.Count < Rows.Count)
            {
                await Cut(rows.Count);
            }
            if (withTree)
            {
                var edge = await MerkleEdge.Load(new InMemoryEngine([], TimeProvider.System), 0, CancellationToken.None);
                foreach (var (leaf, id) in tree)
                {
                    edge.Add(leaf.LeafHash(), id);
                }
                var tiles = edge.Take();
                await Run("DELETE FROM cowork.merkle_tiles");
                await Run(
                    "INSERT INTO cowork.merkle_tiles (level, number, hashes) SELECT * FROM unnest($1::int[], $2, $3)",
                    tiles.Select(tile => (long)tile.Key.Level).ToArray(), tiles.Select(tile => tile.Key.Number).ToArray(), tiles.Select(tile => tile.Hashes.ToArray()).ToArray());
                await Run("UPDATE cowork.mt_event_progression SET last_seq_id = $1 WHERE name = 'merkle_tiles:All'", rows.Count);
            }
        }

        /// <summary>Takes the end of the log away, and everything that tells of it.</summary>
        async Task Cut(int left)
        {
            await Run("DELETE FROM cowork.mt_events WHERE seq_id > $1", left);
            await Run("DELETE FROM cowork.feed WHERE gid > $1", left);
            await Run("UPDATE cowork.head SET gid = $1", left);
            await Run(
                """
                UPDATE cowork.mt_streams s SET version = (SELECT max(version) FROM cowork.mt_events e WHERE e.tenant_id = s.tenant_id AND e.stream_id = s.id)
                """);
            await Run("DELETE FROM cowork.mt_streams WHERE version IS NULL");
        }

        static AuditLeaf Leaf(LogRow row) => new(
            row.Position, row.Org, row.Stream, row.Version, row.Hash, row.FeedId ?? 0, row.Session is null ? null : new SessionKey(row.Session), row.Run is null ? null : new RunKey(row.Run),
            row.Correlation, row.Causation);
    }
}
