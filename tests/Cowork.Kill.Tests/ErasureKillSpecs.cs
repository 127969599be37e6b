using System.Text.Json;

using Cowork.Testing;

using Npgsql;

namespace Cowork.Kill.Tests;

/// <summary>A host that is killed while it removes what an erased subject said: the key is gone already, and the next host removes the rest.</summary>
public sealed class ErasureKillSpecs : DirectorySpecs
{
    const string Word = "zephyrquartz";

    [Fact]
    public async Task An_erasure_goes_on_after_a_kill_and_nobody_reads_anything_meanwhile()
    {
        var database = await TestPostgres.NewDatabase();
        var data = Path.Combine(Data, "a");
        var random = new Random(Seeds.One(840));
        await using (var host = await HostProcess.Start(data, database))
        {
            for (var i = 0; i < 30; i++)
            {
                (await host.Http.Post("/sessions", JsonSerializer.Serialize(new { session_id = $"s{i}", subject = "ann", metadata = new { note = Word } }))).Is(201);
                (await host.Http.Turn($"s{i}", $"/say {Word}")).Is(200);
            }
            (await host.Http.Delete("/subjects/ann")).Is(202);
            for (var spin = random.Next(2_000); spin > 0; spin--)
            {
                await Task.Yield();
            }
            await host.Kill();
        }
        await using var next = await HostProcess.Start(data, database);
        foreach (var path in (string[])["/sessions?limit=100", "/runs?limit=100", "/sessions/s7/events?since_id=0&limit=1000", "/events?limit=1000", "/api/v1/memories"])
        {
            Assert.DoesNotContain(Word, (await next.Http.Get(path)).Text, StringComparison.Ordinal);
        }
        Assert.Equal("subject_erased", (await next.Http.Post("/sessions/s7/turn", """{"message":"again"}""")).Code);
        await next.Http.Until("/subjects/ann", got => got.Is(200)["state"] == "erased");
        Assert.Equal(0, await next.Stop());
        await using var connection = new NpgsqlConnection(database);
        await connection.OpenAsync();
        foreach (var table in (string[])["mt_events", "sessions", "runs", "memories", "memory_words", "messages", "snapshots", "texts", "passages", "jobs"])
        {
            await using var ask = new NpgsqlCommand($"SELECT count(*) FROM cowork.{table} t WHERE t::text ILIKE '%{Word}%'", connection);
            Assert.Equal((table, 0L), (table, (long)(await ask.ExecuteScalarAsync())!));
        }
        await Ledger.CheckLog(database);
    }
}
