namespace Cowork.Bench;

/// <summary>What a turn costs a database that has grown: one kind of thing at a time, by the product's own requests, and the same turns after each step.</summary>
sealed class Growth(HostProcess host, ProcessCpu cpu, TimeSpan time)
{
    const int Makers = 32;

    /// <summary>Tool calls of one turn that makes memories.</summary>
    const int MemoriesEach = 10;

    static readonly string[] Words = [.. "harbour invoice kiln lantern meadow needle orchard pebble quarry ribbon saddle timber urn valley walnut yarn".Split(' ')];

    long sessions;
    long memories;
    long runs;

    /// <summary>Turns whose words many memories have, at 16 in flight.</summary>
    public async Task<Measured> WithMemories(long count)
    {
        var missing = (count - memories + MemoriesEach - 1) / MemoriesEach;
        var first = memories;
        await Each(
            missing, "memories",
            (session, turn) => host.Turn(session, string.Join('\n', Enumerable.Range(0, MemoriesEach).Select(i => Remember(first + (turn * MemoriesEach) + i)))));
        memories += missing * MemoriesEach;
        await Settle();
        return await host.Turns(16, "What of the harbour, the invoice and the kiln?", TimeSpan.FromSeconds(1), time, cpu);
    }

    /// <summary>Turns in new sessions, at 16 in flight.</summary>
    public async Task<Measured> WithSessions(long count)
    {
        var first = sessions;
        await Each(count - first, null, (_, n) => host.Session($"many-{first + n}"));
        sessions = Math.Max(sessions, count);
        await Settle();
        return await host.Turns(16, "/say hello", TimeSpan.FromSeconds(1), time, cpu);
    }

    /// <summary>Turns in a session of so many runs, one after another.</summary>
    public async Task<Measured> WithRuns(long count)
    {
        await host.Session("long");
        for (; runs < count; runs++)
        {
            await host.Turn("long", "/say hello");
        }
        await Settle();
        return await Load.Run(1, TimeSpan.FromMilliseconds(200), time, cpu, (_, _) => host.Turn("long", "/say hello"));
    }

    /// <summary>A number that all share, words that many share, and one that is its own.</summary>
    static string Remember(long n) =>
        $$"""/tool remember {"content":"Note {{n}}: the {{Words[n % Words.Length]}} and the {{Words[n / Words.Length % Words.Length]}} belong to customer c{{n}}."}""";

    /// <summary>As autovacuum would after a while.</summary>
    async Task Settle() => await host.Sql("VACUUM ANALYZE");

    /// <param name="prefix">Of the sessions in which it is done; null: in none.</param>
    async Task Each(long count, string? prefix, Func<string, long, Task> make)
    {
        var next = -1L;
        await Task.WhenAll(Enumerable.Range(0, Makers).Select(async maker =>
        {
            var session = $"{prefix}-{maker}";
            if (prefix is not null)
            {
                await host.Session(session);
            }
            for (var n = Interlocked.Increment(ref next); n < count; n = Interlocked.Increment(ref next))
            {
                await make(session, n);
            }
        }));
    }
}
