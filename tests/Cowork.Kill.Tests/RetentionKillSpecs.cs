using System.Net;

using Cowork.Application;
using Cowork.Domain;
using Cowork.Marten;
using Cowork.Testing;
using Cowork.Web;

using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Logging;

using Npgsql;

using NpgsqlTypes;

namespace Cowork.Kill.Tests;

/// <summary>
/// Hosts that are killed while they remove what is kept no longer, and hosts that look for it at the same moment: each session is whole or removed, once, and nothing else is
/// lost.
/// </summary>
public sealed class RetentionKillSpecs : DirectorySpecs
{
    /// <summary>In what is removed, and nowhere else.</summary>
    const string Word = "zephyrquartz";

    /// <summary>In what stays.</summary>
    const string Kept = "amberwillow";

    const int Removed = 4;

    /// <summary>Steps of one run of the first session: with all its runs it has more events than one transaction removes.</summary>
    const int Steps = 20;
    const int Turns = 7;

    /// <summary>Sessions that stay: one is held, and from the other one a young one forked.</summary>
    static readonly string[] Staying = ["held", "source"];

    /// <summary>So many of the events that let data expire, take its place, or say that it is gone.</summary>
    static readonly string[] Phases = ["type = 'session_expired.v1'", "data ? 'tombstone'", "type = 'session_removed.v1'"];

    static readonly (string Name, string Value)[] Periods =
        [("Cowork__Retention__Sessions", "90.00:00:00"), ("Cowork__Retention__Every", "00:00:01"), ("Cowork__Audit__HeadEvery", "00:00:01")];

    static readonly string[] Gone = [.. Enumerable.Range(0, Removed).Select(i => SessionKey.FromId($"old-{i}").Value)];

    readonly int seed = Seeds.One(20261131);

    string Blobs => Path.Combine(Data, "blobs");

    [Fact]
    public async Task A_removal_goes_on_after_each_kill_and_nothing_is_half_removed_at_its_end()
    {
        var random = new Random(seed);
        var before = await Deleted("a");
        var kills = Seeds.Chaos ? 6 : 2;
        HostProcess? host = null;
        try
        {
            for (var kill = 0; kill < kills; kill++)
            {
                // The first kill meets the beginning or the middle, the last one the middle or the end.
                var phase = random.Next(kill == 0 ? 0 : 1, kill == kills - 1 ? 3 : 2);
                var (there, all) = (await Count(before.Database, Phases[phase]), phase == 1 ? before.Named : Removed);
                var many = Math.Min(all, there + 1 + random.NextInt64((all - there) / (kills - kill)));
                host = HostProcess.Launch(Path.Combine(Data, "a"), before.Database, 0, [.. Periods, .. Shared]);
                await Patience.Until(async () => await Count(before.Database, Phases[phase]) >= many);
                for (var spin = random.Next(2_000); spin > 0; spin--)
                {
                    await Task.Yield();
                }
                await host.Kill();
                await host.DisposeAsync();
                await AssertSound(before);
            }
            host = await HostProcess.Start(Path.Combine(Data, "a"), before.Database, 0, [.. Periods, .. Shared]);
            await AssertRemoved(before, host);
        }
        catch (Exception e)
        {
            throw new InvalidOperationException($"{Seeds.Name(seed)}: {e.Message}\nThe host said:\n{host?.Output}", e);
        }
        finally
        {
            await (host?.DisposeAsync() ?? default);
        }
    }

    [Fact]
    public async Task Of_two_hosts_that_look_for_what_is_due_each_session_expires_once()
    {
        var before = await Deleted("a", "b");
        await using var one = HostProcess.Launch(Path.Combine(Data, "a"), before.Database, 0, [.. Periods, .. Shared]);
        await using var other = HostProcess.Launch(Path.Combine(Data, "b"), before.Database, 0, [.. Periods, .. Shared]);
        await Task.WhenAll(one.Ready(), other.Ready());
        await AssertRemoved(before, one, other);
    }

    /// <summary>A database before anything expires.</summary>
    /// <param name="Named">Events of the sessions that are to be removed.</param>
    /// <param name="Stays">Digest of what the removal must leave as it is: all of other events, and all but the data of those.</param>
    /// <param name="Head">A signed head over all of it, as somebody else has kept it.</param>
    sealed record Before(string Database, long Named, string Stays, SignedHead Head);

    /// <summary>
    /// A database with sessions of half a year ago, some of which were deleted a hundred days later: their period is over, and nothing of them is removed. One that nobody has
    /// deleted is due to be.
    /// </summary>
    /// <param name="hosts">Data directories of hosts that go on with it.</param>
    async Task<Before> Deleted(params string[] hosts)
    {
        var clock = new ShiftedClock { Shift = -TimeSpan.FromDays(205) };
        await using var old = await LiveHost.Start(
            settings => settings with { Blobs = Blobs },
            log =>
            {
                log.SetMinimumLevel(LogLevel.Error);
                log.Services.Replace(ServiceDescriptor.Singleton<TimeProvider>(clock));
            });
        await TestPostgres.RemoveAtOnce(old.Database);
        using var http = old.Client(old.AdminToken);
        // First what stays: a run may be told of what was remembered before, and has it then.
        foreach (var session in (string[])["held", "source", "idle"])
        {
            (await http.Turn(await http.NewSession(session), $"/say {LongText(Kept)}")).Is(200);
        }
        (await http.Post("/sessions/held/hold", """{"reason":"lawsuit 7"}""")).Is(204);
        await Task.WhenAll(Enumerable.Range(0, Removed).Select(async i =>
        {
            var session = await http.NewSession($"old-{i}");
            for (var turn = 0; turn < (i == 0 ? Turns : 1); turn++)
            {
                var tools = string.Concat(Enumerable.Repeat("/tool list_files {}\n", i == 0 ? Steps : 1));
                (await http.Turn(session, $"{tools}/tool remember {{\"content\":\"{Word} {i} {turn}\"}}\n/say {Word}")).Is(200);
            }
            (await http.Turn(session, $"/say {LongText(Word)}")).Is(200);
            // What stays says the same: the blob is of both.
            (await http.Turn(session, $"/say {LongText(Kept)}")).Is(200);
        }));
        clock.Shift = -TimeSpan.FromDays(100);
        for (var i = 0; i < Removed; i++)
        {
            (await http.Delete($"/sessions/old-{i}")).Is(204);
        }
        clock.Shift = -TimeSpan.FromDays(20);
        await http.NewSession("young");
        (await http.Post("/sessions/source/fork", "{}")).Is(201);
        await Patience.Until(async () => await Ask(old.Database, "SELECT count(*) FROM cowork.jobs") == 0);
        await old.Services.GetRequiredService<AuditTree>().CatchUp(default);
        await old.Services.GetRequiredService<HeadSigner>().Sign(default);
        var head = (await old.Services.GetRequiredService<AuditHeadLog>().Latest(default))!.Head;
        foreach (var host in hosts)
        {
            // One service has one master key.
            Directory.CreateDirectory(Path.Combine(Data, host));
            File.Copy(Path.Combine(old.Data, "master-key"), Path.Combine(Data, host, "master-key"));
        }
        return new(old.Database, await Count(old.Database, "headers->>'session' = ANY ($1)", Gone), await Stays(old.Database, head), head);
    }

    static string LongText(string word) => string.Join(' ', Enumerable.Repeat(word, 7_000));

    /// <summary>The log is sound, however far the removal has come, and what it must leave is as it was.</summary>
    static async Task<long> AssertSound(Before before)
    {
        await using var connection = new NpgsqlConnection(before.Database);
        await connection.OpenAsync();
        var verdict = await new LogVerifier(connection, "cowork", "default", new(null, [before.Head])).Verify(LogVerifierState.Begin, CancellationToken.None);
        Assert.Null(verdict.Fault);
        Assert.Equal(before.Stays, await Stays(before.Database, before.Head));
        return verdict.State.Expired;
    }

    /// <summary>
    /// Waits for the end of the removal and stops the hosts: each session expired once and is gone from every table and every file; what stays is whole, and proved.
    /// </summary>
    async Task AssertRemoved(Before before, params HostProcess[] hosts)
    {
        foreach (var host in hosts)
        {
            await host.Http.Until("/retention", got => got.Is(200).Json.GetProperty("removed").GetProperty("sessions").GetInt32() == Removed);
            await host.Http.Until("/sessions/idle", got => got.IsOneOf(200, 404).Status == HttpStatusCode.NotFound);
            foreach (var session in Staying)
            {
                Assert.Contains(Kept, (await host.Http.Get($"/sessions/{session}/runs")).Is(200).Text, StringComparison.Ordinal);
            }
            Assert.Equal((HttpStatusCode.OK, HttpStatusCode.NotFound), ((await host.Http.Get("/sessions/young")).Status, (await host.Http.Get("/sessions/old-1")).Status));
        }
        // The look after the removal takes blobs back that nothing names any more, and a sweep of the store removes them.
        await Patience.Until(() => Holding(Word).TrueForAll(file => file.Contains("/pending/", StringComparison.Ordinal)));
        foreach (var host in hosts)
        {
            Assert.Equal(0, await host.Stop());
        }
        await new FileBlobs(Blobs).Sweep(TimeSpan.FromDays(-1), dryRun: false, TimeProvider.System, CancellationToken.None);
        Assert.Empty(Holding(Word));
        Assert.NotEmpty(Holding(Kept));

        var (database, expired) = (before.Database, await AssertSound(before));
        Assert.Equal(
            ((long)Removed, (long)Removed, expired, before.Named),
            (await Count(database, "type = 'session_expired.v1'"), await Count(database, "type = 'session_removed.v1'"),
                await Ask(database, "SELECT sum((data->>'events')::bigint)::bigint FROM cowork.mt_events WHERE type = 'session_removed.v1'"), expired));
        Assert.Equal(Removed, await Ask(database, "SELECT count(DISTINCT stream_id) FROM cowork.mt_events WHERE type = 'session_expired.v1'"));
        Assert.Equal(before.Named, await Count(database, "data ? 'tombstone' AND headers->>'session' = ANY ($1)", Gone));
        Assert.Equal(before.Named, await Count(database, "data ? 'tombstone'"));
        // What was due to be deleted was, once, and is there for another day.
        Assert.Equal(1, await Count(database, "type = 'session_deleted.v1' AND data->>'days' = '90'"));
        foreach (var table in await Tables(database))
        {
            Assert.Equal((table, 0L), (table, await Ask(database, $"SELECT count(*) FROM cowork.\"{table}\" t WHERE t::text ILIKE '%{Word}%'")));
        }
        await Ledger.CheckLog(database);
        var (code, output) = await CoworkCli.Run(database, "rebuild", "--check");
        Assert.True(code == 0, output);
        (code, output) = await CoworkCli.Run(null, "verify", "--database", database);
        Assert.True(code == 0 && output.StartsWith("SOUND", StringComparison.Ordinal), output);
        Assert.Contains($"{expired} events expired", output, StringComparison.Ordinal);
    }

    /// <summary>Files of the blob store that have a word.</summary>
    List<string> Holding(string word) => [.. Directory.EnumerateFiles(Blobs, "*", SearchOption.AllDirectories).Where(file => Holds(file, word))];

    static bool Holds(string file, string word)
    {
        try
        {
            return File.ReadAllText(file).Contains(word, StringComparison.Ordinal);
        }
        catch (FileNotFoundException)
        {
            // It was renamed, and is found with the next look.
            return false;
        }
    }

    /// <summary>Digest of the events that a head has: without their data where it is removed, whole elsewhere.</summary>
    static async Task<string> Stays(string database, SignedHead head)
    {
        await using var connection = new NpgsqlConnection(database);
        await connection.OpenAsync();
        await using var ask = new NpgsqlCommand(
            """
            SELECT md5(string_agg((CASE WHEN headers->>'session' = ANY ($1) THEN to_jsonb(e) - 'data' ELSE to_jsonb(e) END)::text, E'\n' ORDER BY seq_id))
            FROM cowork.mt_events e WHERE seq_id <= $2
            """,
            connection)
        {
            Parameters = { new() { Value = Gone, NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Text }, new() { Value = head.TreeSize } },
        };
        return (string)(await ask.ExecuteScalarAsync())!;
    }

    static async Task<List<string>> Tables(string database)
    {
        await using var connection = new NpgsqlConnection(database);
        await connection.OpenAsync();
        await using var list = new NpgsqlCommand("SELECT tablename::text FROM pg_tables WHERE schemaname = 'cowork' ORDER BY 1", connection);
        await using var reader = await list.ExecuteReaderAsync();
        var tables = new List<string>();
        while (await reader.ReadAsync())
        {
            tables.Add(reader.GetString(0));
        }
        return tables;
    }

    static Task<long> Count(string database, string where, params string[][] sessions) => Ask(database, $"SELECT count(*) FROM cowork.mt_events WHERE {where}", sessions);

    static async Task<long> Ask(string database, string sql, params string[][] sessions)
    {
        await using var connection = new NpgsqlConnection(database);
        await connection.OpenAsync();
        await using var command = new NpgsqlCommand(sql, connection);
        foreach (var keys in sessions)
        {
            command.Parameters.Add(new NpgsqlParameter { Value = keys, NpgsqlDbType = NpgsqlDbType.Array | NpgsqlDbType.Text });
        }
        return (long)(await command.ExecuteScalarAsync())!;
    }
}
