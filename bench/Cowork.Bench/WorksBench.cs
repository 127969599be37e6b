using System.Globalization;
using System.Net.Http.Json;
using System.Text.Json;

using Cowork.Application;
using Cowork.Domain;
using Cowork.Projections;

using Npgsql;

using NpgsqlTypes;

namespace Cowork.Bench;

/// <summary>Lists and searches of contract E, over works of one user that stand in the read model's table: nothing else of a work is read by them.</summary>
/// <param name="database">The one of the host, as a role that may write the table.</param>
sealed class WorksBench(HostProcess host, ProcessCpu cpu, TimeSpan time, string database)
{
    const string Org = "default";
    const string Owner = "user:local";

    static readonly TimeSpan Settling = TimeSpan.FromSeconds(1);

    static readonly string[] Words =
        [.. "harbour invoice kiln lantern meadow needle orchard pebble quarry ribbon saddle timber urn valley walnut yarn anchor basket candle drawer".Split(' ')];

    int works;

    /// <summary>Writes rows until there are so many, each older than any event.</summary>
    public async Task Fill(int count)
    {
        await using var source = NpgsqlDataSource.Create(database);
        await using (var connection = await source.OpenConnectionAsync())
        await using (var import = await connection.BeginBinaryImportAsync(
            "COPY cowork.works (tenant_id, id, scope, status, created, updated, version, row, at, text, pieces) FROM STDIN (FORMAT BINARY)"))
        {
            import.Timeout = TimeSpan.FromMinutes(30);
            for (; works < count; works++)
            {
                var at = DateTimeOffset.UnixEpoch.AddDays(18_000).AddSeconds(works);
                var key = new WorkKey(Ids.KeyOf(works.ToString(CultureInfo.InvariantCulture)));
                var card = new WorkCard(Label(works), null, $"A preview of the {Words[works % 7]} and what belongs to it.", [Words[works % 3]]);
                var row = Works.Model.Value(new WorkRow(key, Owner, WorkBuckets.All[works % 3], card, 1, at, at));
                await import.StartRowAsync();
                await import.WriteAsync(Org, NpgsqlDbType.Text);
                await import.WriteAsync(key.Value, NpgsqlDbType.Text);
                await import.WriteAsync(Owner, NpgsqlDbType.Text);
                await import.WriteAsync(row.Status!, NpgsqlDbType.Text);
                await import.WriteAsync((long)works - int.MaxValue, NpgsqlDbType.Bigint);
                await import.WriteAsync((long)works - int.MaxValue, NpgsqlDbType.Bigint);
                await import.WriteAsync(1L, NpgsqlDbType.Bigint);
                await import.WriteAsync(row.Json, NpgsqlDbType.Json);
                await import.WriteAsync(row.Place!.At, NpgsqlDbType.Bigint);
                await import.WriteAsync(row.Place.Text, NpgsqlDbType.Text);
                await import.WriteAsync(PartsOfWords.Pieces(Org, Owner, row.Place.Text), NpgsqlDbType.Array | NpgsqlDbType.Bigint);
            }
            await import.CompleteAsync();
        }
        await host.Sql("VACUUM ANALYZE cowork.works");
    }

    /// <summary>What is measured, by name, in the order of a table's columns.</summary>
    public IReadOnlyList<(string What, Func<Task<Measured>> Measure)> All =>
    [
        ("the first page", () => Page("?limit=25")),
        ("a page in the middle", Middle),
        ("a bucket", () => Page("?limit=25&bucket=listings")),
        ("a word of many", () => Page("?q=harbour")),
        ("a part of a word of one", () => Load.Run(1, Settling, time, cpu, async (_, n) => await Found($"?q=c{(n * 7_919) % works:d7}", 1))),
        ("a word of none", () => Load.Run(1, Settling, time, cpu, async (_, _) => await Found("?q=zzyzx", 0))),
    ];

    static string Label(int n) => $"The {Words[n % Words.Length]} and the {Words[n / Words.Length % Words.Length]} of c{n:d7}";

    Task<Measured> Page(string query) => Load.Run(1, Settling, time, cpu, async (_, _) => await Found(query, 1));

    async Task<Measured> Middle()
    {
        // The place is the cursor's business; one that many pages lead to is read again and again.
        var cursor = (string?)null;
        for (var page = 0; page < 10 && page * 1_000 < works / 2; page++)
        {
            var limit = Math.Min(1_000, works / 2);
            cursor = (await List($"?limit={limit}{(cursor is null ? "" : $"&cursor={cursor}")}")).GetProperty("next_cursor").GetString();
        }
        return await Page($"?limit=25&cursor={cursor}");
    }

    async Task Found(string query, int atLeast)
    {
        if ((await List(query)).GetProperty("list").GetArrayLength() < atLeast)
        {
            throw new InvalidOperationException($"{query} found too little.");
        }
    }

    async Task<JsonElement> List(string query) => (await host.Http.GetFromJsonAsync<JsonElement>($"/myworks{query}")).GetProperty("data");
}
