using System.Net;
using System.Text.Json;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Marten;
using Cowork.Projections;
using Cowork.Testing;

using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;

using Npgsql;

namespace Cowork.Web.Tests;

/// <summary>Retention over HTTP on a host that began half a year ago, and what the log proves of what is gone.</summary>
public sealed class RetentionSpecs(RetentionSpecs.OldHost old) : IClassFixture<RetentionSpecs.OldHost>
{
    const string Word = "zephyrquartz";

    /// <summary>So long a text lies in the blob store. The subject ann says it in a session that expires and in one that does not.</summary>
    static readonly string Long = "/say " + string.Join(' ', Enumerable.Repeat("amberwillow", 7_000));

    /// <summary>
    /// What somebody with the database to himself may try on a log with expired data; STONE stands for an event of the session, PLAIN for one that no expiry names, EXPIRY for the
    /// event that does, REMOVAL for the one that says that the data is gone. Each is found at the event that was changed, or in a range that ends at another one.
    /// </summary>
    public static TheoryData<string, string?> Changes => new()
    {
        { "UPDATE cowork.mt_events SET data = '{\"tombstone\":{\"by\":EXPIRY}}' WHERE seq_id = PLAIN", null },
        { "UPDATE cowork.mt_events SET data = '{\"tombstone\":{\"by\":1}}' WHERE seq_id = STONE", null },
        { "UPDATE cowork.mt_events SET data = '{\"tombstone\":{}}' WHERE seq_id = STONE", null },
        { "UPDATE cowork.mt_events SET data = '{\"tombstone\":{\"by\":EXPIRY,\"note\":\"x\"}}' WHERE seq_id = STONE", null },
        { "UPDATE cowork.mt_events SET data = '{\"content\":\"made up\"}' WHERE seq_id = STONE", null },
        { "UPDATE cowork.mt_events SET headers = jsonb_set(headers, '{hash}', to_jsonb(translate(headers->>'hash', '0123456789abcdef', '123456789abcdef0'))) WHERE seq_id = STONE", null },
        { "UPDATE cowork.mt_events SET type = 'run_started.v1' WHERE seq_id = STONE", "EXPIRY" },
        { "UPDATE cowork.mt_events SET user_name = 'user:eve' WHERE seq_id = STONE", "EXPIRY" },
        { "UPDATE cowork.mt_events SET timestamp = timestamp + interval '1 hour' WHERE seq_id = STONE", "EXPIRY" },
        { "UPDATE cowork.mt_events SET id = gen_random_uuid() WHERE seq_id = STONE", "EXPIRY" },
        { "UPDATE cowork.mt_events SET data = '{\"tombstone\":{\"by\":STONE}}' WHERE seq_id = EXPIRY", null },
        { "UPDATE cowork.mt_events SET data = jsonb_set(data, '{tombstone,bytes}', '4711') WHERE seq_id = STONE", "REMOVAL" },
        { "UPDATE cowork.mt_events SET data = jsonb_set(data, '{tombstone,output_tokens}', '4711') WHERE seq_id = STONE", "REMOVAL" },
    };

    [Fact]
    public async Task What_expired_is_gone_for_every_reader_and_the_log_is_sound()
    {
        var (session, run) = old.Expired;
        foreach (var gone in (string[])[$"/sessions/{session}", $"/runs/{run}", $"/runs/{run}/trace", $"/sessions/{session}/trace", $"/sessions/{session}/events", $"/runs/{run}?as_of=40"])
        {
            Assert.Contains((await old.Admin.Get(gone)).Status, (HttpStatusCode[])[HttpStatusCode.NotFound, HttpStatusCode.Gone]);
        }
        foreach (var bundle in (string[])[$"/runs/{run}/trace", $"/runs/{run}/trace?include=content", $"/sessions/{session}/trace"])
        {
            Assert.Equal("expired", (await old.Admin.Get(bundle)).Is(410).Code);
            using var member = old.Host.Client(await old.Host.Token("default", "member", "member"));
            (await member.Get(bundle)).Is(404);
        }
        Assert.DoesNotContain(session, (await old.Admin.Get("/sessions?limit=1000")).Text, StringComparison.Ordinal);

        var retention = (await old.Admin.Get("/retention")).Is(200).Json;
        Assert.Equal(90, retention.GetProperty("sessions_days").GetInt32());
        Assert.Equal(2, retention.GetProperty("removed").GetProperty("sessions").GetInt32());
        Assert.Contains(old.Held, retention.GetProperty("held").EnumerateArray().Select(held => held.GetString()!));

        // A reader of the feed sees no gap.
        var feed = (await old.Admin.Get("/events?limit=1000")).Is(200).Json.GetProperty("events").EnumerateArray().ToList();
        var stones = feed.Where(e => e.TryGetProperty("tombstone", out _)).ToList();
        Assert.NotEmpty(stones);
        Assert.All(stones, e => Assert.Equal("{}", e.GetProperty("payload").GetRawText()));

        var verdict = await old.Verify();
        Assert.Null(verdict.Fault);
        Assert.Equal(stones.Count, verdict.State.Expired);
        foreach (var model in ReadModels.Tables)
        {
            Assert.Equal((model.Table, null), (model.Table, await old.Host.Services.GetRequiredService<IRows>().FindDifference(model, default)));
        }
    }

    [Fact]
    public async Task Every_command_at_the_address_of_what_expired_has_one_answer_and_a_member_hears_of_nothing()
    {
        var (session, run) = old.Expired;
        using var member = old.Host.Client(await old.Host.Token("default", "member"));
        (HttpMethod Method, string Path, string? Body)[] commands =
        [
            (HttpMethod.Post, $"/sessions/{session}/turn", """{"message":"again"}"""), (HttpMethod.Delete, $"/sessions/{session}", null),
            (HttpMethod.Post, $"/sessions/{session}/fork", "{}"), (HttpMethod.Post, $"/runs/{run}/fork", """{"at_event":1}"""), (HttpMethod.Post, $"/runs/{run}/replay", "{}"),
            (HttpMethod.Post, $"/runs/{run}/cancel", null), (HttpMethod.Post, $"/runs/{run}/counterfactual", """{"from_event":1}"""),
        ];
        foreach (var (method, path, body) in commands)
        {
            Assert.Equal((path, 410, "expired"), (path, (int)(await old.Admin.Send(method, path, body)).Status, (await old.Admin.Send(method, path, body)).Code));
            Assert.Equal((path, 404), (path, (int)(await member.Send(method, path, body)).Status));
        }
        (await old.Admin.Post($"/sessions/{session}/hold", """{"reason":"late"}""")).IsProblem(410, "expired");
        (await old.Admin.Delete($"/sessions/{session}/hold")).IsProblem(410, "expired");
    }

    [Fact]
    public async Task A_hold_is_shown_at_once_and_its_repeat_is_answered_as_it_was()
    {
        var session = await old.Admin.NewSession();
        (string, string) key = ("Idempotency-Key", $"hold-{session}");
        Assert.False((await old.Admin.Post($"/sessions/{session}/hold", """{"reason":"lawsuit 9"}""", key)).Is(204).Headers.Contains("Idempotency-Replayed"));
        Assert.Contains(session, (await old.Admin.Get("/retention")).Is(200).Json.GetProperty("held").EnumerateArray().Select(held => held.GetString()));
        Assert.True((await old.Admin.Post($"/sessions/{session}/hold", """{"reason":"lawsuit 9"}""", key)).Is(204).Headers.Contains("Idempotency-Replayed"));
        (await old.Admin.Post($"/sessions/{session}/hold", """{"reason":"another"}""", key)).Is(422);
        (await old.Admin.Delete($"/sessions/{session}/hold")).Is(204);
        Assert.DoesNotContain(session, (await old.Admin.Get("/retention")).Is(200).Json.GetProperty("held").EnumerateArray().Select(held => held.GetString()));
        (await old.Admin.Delete($"/sessions/{session}")).Is(204);
    }

    [Fact]
    public async Task What_a_subject_has_said_elsewhere_too_stays_and_is_found()
    {
        Assert.True(await old.RemoveBlobs() > 0);
        await using var source = NpgsqlDataSource.Create(old.Database);
        await using var ask = source.CreateCommand("SELECT stored FROM cowork.subject_blobs");
        await using var reader = await ask.ExecuteReaderAsync();
        var stored = 0;
        for (; await reader.ReadAsync(); stored++)
        {
            var sha256 = reader.GetString(0);
            Assert.True(File.Exists(Path.Combine(old.Host.Data, "blobs", sha256[..2], sha256)), sha256);
        }
        Assert.NotEqual(0, stored);
        Assert.Contains(Long[^100..], (await old.Admin.Get($"/sessions/{old.Young}/runs")).Is(200).Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task By_any_route_and_any_id_nothing_of_it_is_found_and_nothing_fails()
    {
        var (seen, probed) = await TenantProbe.OfGone(old.Ids, Word).Look(old.Admin);
        Assert.Empty(seen);
        Assert.True(probed > 100, $"{probed} requests");
    }

    [Theory]
    [MemberData(nameof(Changes))]
    public async Task A_tombstone_without_authority_and_changed_remains_are_found(string change, string? through)
    {
        await using var connection = new NpgsqlConnection(old.Database);
        await connection.OpenAsync();
        var (stone, plain, expiry, removal) = await Places(connection);
        await using var transaction = await connection.BeginTransactionAsync();
        var sql = change.Replace("STONE", $"{stone}", StringComparison.Ordinal).Replace("PLAIN", $"{plain}", StringComparison.Ordinal)
            .Replace("EXPIRY", $"{expiry}", StringComparison.Ordinal);
        await using (var command = new NpgsqlCommand($"ALTER TABLE cowork.mt_events DISABLE TRIGGER keep_log; {sql}", connection))
        {
            await command.ExecuteNonQueryAsync();
        }
        var fault = (await new LogVerifier(connection, "cowork", "default", OutsideKnowledge.None).Verify(LogVerifierState.Begin, default, isTransaction: true)).Fault;
        Assert.NotNull(fault);
        var changed = sql.EndsWith($"= {plain}", StringComparison.Ordinal) ? plain : sql.EndsWith($"= {expiry}", StringComparison.Ordinal) ? expiry : stone;
        Assert.True(
            fault.Position <= changed && (through is null ? fault.Through <= changed : fault.Through == (through == "EXPIRY" ? expiry : removal)), $"{sql}: {fault}");
        await transaction.RollbackAsync();
    }

    [Fact]
    public async Task Data_that_is_put_back_is_found_even_when_it_is_the_same()
    {
        await using var connection = new NpgsqlConnection(old.Database);
        await connection.OpenAsync();
        var (stone, _, _, _) = await Places(connection);
        await using var transaction = await connection.BeginTransactionAsync();
        await using (var off = new NpgsqlCommand("ALTER TABLE cowork.mt_events DISABLE TRIGGER keep_log", connection))
        {
            await off.ExecuteNonQueryAsync();
        }
        await using (var command = new NpgsqlCommand("UPDATE cowork.mt_events SET data = $1::jsonb WHERE seq_id = $2", connection)
        {
            Parameters = { new() { Value = old.Before[stone] }, new() { Value = stone } },
        })
        {
            await command.ExecuteNonQueryAsync();
        }
        var fault = (await new LogVerifier(connection, "cowork", "default", OutsideKnowledge.None).Verify(LogVerifierState.Begin, default, isTransaction: true)).Fault;
        Assert.Equal((stone, stone), (fault?.Position, fault?.Through));
        await transaction.RollbackAsync();
    }

    [Fact]
    public async Task A_run_elsewhere_that_was_told_of_a_memory_which_expired_has_a_bundle()
    {
        var bundle = (await old.Admin.Get($"/runs/{old.Told}/trace")).Is(200).Text;
        Assert.Contains("\"tombstone\"", bundle, StringComparison.Ordinal);
        Assert.Contains("the sea is blue", bundle, StringComparison.Ordinal);
        var path = Path.Combine(old.Host.Data, "told.json");
        await File.WriteAllTextAsync(path, bundle);
        var said = await CoworkCli.Run(null, "verify", path);
        Assert.True(said.Code == 0, said.Output);
        Assert.Contains(", 1 events expired", said.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Bundles_and_exports_verify_as_before_and_an_export_has_tombstones_as_lines()
    {
        var path = Path.Combine(old.Host.Data, "before.json");
        await File.WriteAllTextAsync(path, old.Bundle);
        Assert.Equal(0, (await CoworkCli.Run(null, "verify", path)).Code);
        var export = Path.Combine(old.Host.Data, "export.ndjson");
        await File.WriteAllTextAsync(export, (await old.Admin.Get("/audit/export")).Text);
        var said = await CoworkCli.Run(null, "verify", export);
        Assert.True(said.Code == 0, said.Output);
        Assert.Contains("expired", said.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Periods_have_bounds_a_dry_run_changes_nothing_and_only_administrators_set_them()
    {
        foreach (var body in (string[])["""{"sessions_days":-1}""", """{"security_days":36501}""", """{"sessions_days":1.5}""", """{"session_days":40}"""])
        {
            (await old.Admin.Send(HttpMethod.Put, "/retention", body)).Is(422);
        }
        (await old.Admin.Send(HttpMethod.Put, "/retention?dryrun=true", """{"sessions_days":1}""")).IsProblem(422);
        (await old.Admin.Send(HttpMethod.Post, $"/sessions/{old.Held}/hold", """{"reason":" "}""")).Is(422);
        var dry = (await old.Admin.Send(HttpMethod.Put, "/retention?dry_run=true", """{"sessions_days":1}""")).Is(200).Json;
        Assert.True(dry.GetProperty("dry_run").GetBoolean());
        Assert.Equal([old.Young], dry.GetProperty("due").GetProperty("sessions").EnumerateArray().Select(due => due.GetString()!));
        Assert.Equal(90, (await old.Admin.Get("/retention")).Json.GetProperty("sessions_days").GetInt32());
        using var member = old.Host.Client(await old.Host.Token("default", "member", "auditor"));
        (await member.Get("/retention")).Is(200);
        (await member.Send(HttpMethod.Put, "/retention", """{"sessions_days":1}""")).Is(403);
        (await member.Send(HttpMethod.Post, $"/sessions/{old.Young}/hold", """{"reason":"x"}""")).Is(403);
    }

    [Fact]
    public async Task A_legal_hold_keeps_a_session_from_its_deletion_and_a_data_subject_from_its_erasure()
    {
        const string reason = "lawsuit zqhold";
        (await old.Admin.Delete($"/sessions/{old.Held}")).IsProblem(409, "session_held");
        var held = new List<string>();
        for (var i = 0; i < 2; i++)
        {
            var session = (await old.Admin.Post("/sessions", """{"subject":"held-one"}""")).Is(201)["session_id"];
            (await old.Admin.Turn(session, "/say hello")).Is(200);
            (await old.Admin.Post($"/sessions/{session}/hold", JsonSerializer.Serialize(new { reason }))).Is(204);
            held.Add(session);
        }
        var said = (await old.Admin.Delete("/subjects/held-one")).IsProblem(409, "subject_held").Text;
        Assert.Contains("2 sessions of held-one", said, StringComparison.Ordinal);
        (await old.Admin.Delete($"/sessions/{held[0]}/hold")).Is(204);
        (await old.Admin.Delete("/subjects/held-one")).IsProblem(409, "subject_held");
        (await old.Admin.Delete($"/sessions/{held[1]}/hold")).Is(204);
        Assert.Contains(reason, (await old.Admin.Get($"/sessions/{held[0]}/events")).Is(200).Text, StringComparison.Ordinal);
        (await old.Admin.Delete("/subjects/held-one")).Is(202);
        await old.Admin.Until("/subjects/held-one", got => got.Is(200)["state"] == "erased");
        Assert.DoesNotContain(reason, (await old.Admin.Get($"/sessions/{held[0]}/events")).Is(200).Text, StringComparison.Ordinal);
    }

    static async Task<(long Stone, long Plain, long Expiry, long Removal)> Places(NpgsqlConnection connection)
    {
        await using var ask = new NpgsqlCommand(
            """
            SELECT s.seq_id, (SELECT max(seq_id) FROM cowork.mt_events WHERE NOT data ? 'tombstone' AND type = 'assistant_reply.v1'), e.seq_id, r.seq_id
            FROM cowork.mt_events s JOIN cowork.mt_events e ON e.seq_id = (s.data->'tombstone'->>'by')::bigint
            JOIN cowork.mt_events r ON r.stream_id = e.stream_id AND r.type = 'session_removed.v1'
            WHERE s.type = 'assistant_reply.v1' AND s.data ? 'tombstone' ORDER BY s.seq_id LIMIT 1
            """,
            connection);
        await using var reader = await ask.ExecuteReaderAsync();
        await reader.ReadAsync();
        return (reader.GetInt64(0), reader.GetInt64(1), reader.GetInt64(2), reader.GetInt64(3));
    }

    public sealed class OldHost : IAsyncLifetime
    {
        /// <summary>
        /// What follows a turn or a deletion comes a moment after it, and days are counted from the last event: each look is an hour later, or it would wait for a day that never ends.
        /// </summary>
        static readonly TimeSpan AnHour = TimeSpan.FromHours(1);

        readonly ShiftedClock clock = new() { Shift = -TimeSpan.FromDays(200) };

        public LiveHost Host { get; private set; } = null!;

        public HttpClient Admin { get; private set; } = null!;

        public string Database { get; private set; } = "";

        public (string Session, string Run) Expired { get; private set; }

        /// <summary>Of the expired session and of what was made in it, as parameters of paths name them.</summary>
        public Dictionary<string, string> Ids { get; private set; } = [];

        public string Held { get; private set; } = "";

        /// <summary>A run of the held session that was told what the other one had remembered.</summary>
        public string Told { get; private set; } = "";

        public string Young { get; private set; } = "";

        public string Bundle { get; private set; } = "";

        /// <summary>The data of each event before any expired.</summary>
        public Dictionary<long, string> Before { get; } = [];

        public async ValueTask InitializeAsync()
        {
            Database = await TestPostgres.NewDatabase();
            Host = await LiveHost.Start(
                settings => settings with { Database = Database, Retention = new() { SessionsDays = 90 } },
                log => log.Services.Replace(ServiceDescriptor.Singleton<TimeProvider>(clock)));
            await TestPostgres.RemoveAtOnce(Database);
            Admin = Host.Client(Host.AdminToken);
            var session = await Admin.NewSession();
            var turn = await Admin.Turn(session, "/tool remember {\"content\":\"the sea is blue\"}\n/say hello");
            Expired = (session, turn.Is(200).Json.GetProperty("run_id").GetString()!);
            Held = await Admin.NewSession();
            Told = (await Admin.Turn(Held, "/say the sea is blue")).Is(200).Json.GetProperty("run_id").GetString()!;
            (await Admin.Send(HttpMethod.Post, $"/sessions/{Held}/hold", """{"reason":"lawsuit 7"}""")).Is(204);
            Ids = await Make(session, Expired.Run);
            var anns = (await Admin.Post("/sessions", """{"subject":"ann"}""")).Is(201)["session_id"];
            (await Admin.Turn(anns, Long)).Is(200);
            await Sign();
            Bundle = (await Admin.Get($"/runs/{Expired.Run}/trace")).Is(200).Text;
            clock.Shift = -TimeSpan.FromDays(105);
            Young = (await Admin.Post("/sessions", """{"subject":"ann"}""")).Is(201)["session_id"];
            (await Admin.Turn(Young, Long)).Is(200);
            await using (var connection = new NpgsqlConnection(Database))
            {
                await connection.OpenAsync();
                await using var ask = new NpgsqlCommand("SELECT seq_id, data::text FROM cowork.mt_events", connection);
                await using var reader = await ask.ExecuteReaderAsync();
                while (await reader.ReadAsync())
                {
                    Before[reader.GetInt64(0)] = reader.GetString(1);
                }
            }
            string[] expiring = [session, anns];
            await Patience.Until(
                async () =>
                {
                    clock.Shift += AnHour;
                    await Execute(new StartSweep());
                    var gone = true;
                    foreach (var one in expiring)
                    {
                        gone &= (await Admin.Get($"/sessions/{one}")).Status == HttpStatusCode.NotFound;
                    }
                    return gone;
                },
                pause: 100);
            clock.Shift += TimeSpan.FromDays(2);
            await Patience.Until(
                async () =>
                {
                    clock.Shift += AnHour;
                    foreach (var one in expiring)
                    {
                        await Execute(new StartRemoval(Session.Aggregate.Stream(SessionKey.FromId(one))));
                    }
                    await Sign();
                    return (await Admin.Get("/retention")).Json.GetProperty("removed").GetProperty("sessions").GetInt32() == expiring.Length;
                },
                pause: 100);
            await Sign();
        }

        public async ValueTask DisposeAsync()
        {
            Admin.Dispose();
            await Host.DisposeAsync();
        }

        /// <summary>Removes the blobs that nothing names any more, as hosts do in the course of a day. Answers how many there were.</summary>
        public async Task<long> RemoveBlobs()
        {
            var blobs = Host.Services.GetRequiredService<ExpiredBlobs>();
            Assert.True(await blobs.Sweep(default));
            clock.Shift += TimeSpan.FromMinutes(6);
            Assert.False(await blobs.Sweep(default));
            return (await Host.Services.GetRequiredService<IBlobSweeper>().Sweep(TimeSpan.FromDays(-1), dryRun: false, TimeProvider.System, default))!.Removed;
        }

        public async Task<LogVerdict> Verify()
        {
            await using var connection = new NpgsqlConnection(Database);
            await connection.OpenAsync();
            return await new LogVerifier(connection, "cowork", "default", OutsideKnowledge.None).Verify(LogVerifierState.Begin, default);
        }

        /// <summary>One of everything that a session can have.</summary>
        async Task<Dictionary<string, string>> Make(string session, string run)
        {
            var written = (await Admin.Turn(session, $"/tool write_file {{\"path\":\".anton/output/r.md\",\"content\":\"{Word}\"}}\n/say {Word}")).Is(200)["run_id"];
            var artifact = (await Admin.Get($"/runs/{written}/artifacts")).Is(200).Json.GetProperty("artifacts")[0].GetProperty("artifact_id").GetString()!;
            var pad = (await Admin.Post(
                "/api/v1/scratchpads", $$"""{"conversation_id":"{{session}}","title":"{{Word}}","cells":[{"type":"code","content":"'{{Word}}'"}]}""")).Is(201);
            var file = (await Admin.Upload(Word, $"{Word}.txt", ("conversation_id", session))).Is(201)["id"];
            await Admin.Until($"/api/v1/files/{file}", got => got.Is(200)["status"] == "ready");
            var memories = await Admin.Until($"/sessions/{session}/memories", got => got.Is(200).Json.GetProperty("memories").GetArrayLength() > 0);
            return new()
            {
                ["{session_id}"] = session,
                ["{sessionId}"] = session,
                ["{run_id}"] = run,
                ["{taskId}"] = run,
                ["{memory_id}"] = memories.Json.GetProperty("memories")[0].GetProperty("memory_id").GetString()!,
                ["{artifact_id}"] = artifact,
                ["{artifactId}"] = artifact,
                ["{version}"] = "1",
                ["{file_id}"] = file,
                ["{scratchpad_id}"] = pad["id"],
                ["{cell_id}"] = pad.Json.GetProperty("cells")[0].GetProperty("id").GetString()!,
                ["{path}"] = "r.md",
                ["as_of"] = (await Admin.Get("/events?limit=1000")).Is(200)["next_since_id"],
            };
        }

        async Task Execute(ICommand command) =>
            Assert.Null((await Host.Services.GetRequiredService<ICommandExecutor>().Execute("default", RetentionSweep.System, command, default)).Refused);

        async Task Sign()
        {
            await Host.Services.GetRequiredService<AuditTree>().CatchUp(default);
            await Host.Services.GetRequiredService<HeadSigner>().Sign(default);
        }
    }
}
