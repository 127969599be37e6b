using System.Diagnostics;

using Cowork.Application;
using Cowork.Domain;
using Cowork.Marten;

using Microsoft.Extensions.Logging.Abstractions;

using Npgsql;

namespace Cowork.Bench;

/// <summary>What the tree and the signed heads cost appends, how fast a tree is made for a log that has none, and a log verified beside COPY of its rows.</summary>
/// <param name="server">Connection string of the database, as a role that may read all.</param>
sealed class AuditBench(StorageBench storage, string server)
{
    const string Operators = "default";

    static readonly TimeSpan WakeEvery = TimeSpan.FromMilliseconds(200);

    /// <summary>Follows the log and signs heads, as a host does, while something is measured.</summary>
    public async Task<T> WithHeads<T>(Func<Task<T>> measure)
    {
        using var stop = new CancellationTokenSource();
        var clock = TimeProvider.System;
        var operators = new OperatorsTenant(Operators);
        var masters = new MasterKeyring([MasterKey.New()], "the bench");
        var (commands, engine) = (storage.Commands, storage.Engine);
        var keys = new SigningKeyring(commands, commands, masters, new(commands, commands, masters, operators, clock), operators, clock);
        var tree = new AuditTree(engine.Merkle, clock, NullLogger<AuditTree>.Instance);
        var signer = new HeadSigner(
            tree, new(engine.Log, operators), keys, commands, operators, new NoMemory(), HeadSettings.Default, clock, NullLogger<HeadSigner>.Instance);
        await using var wake = new Timer(_ => tree.OthersWrote(), null, TimeSpan.Zero, WakeEvery);
        await tree.CatchUp(CancellationToken.None);
        var running = Task.WhenAll(tree.Run(stop.Token), signer.Run(stop.Token));
        var measured = await measure();
        await stop.CancelAsync();
        await running;
        return measured;
    }

    /// <summary>Events a second at which a tree is made from nothing.</summary>
    public async Task<(long Events, double PerSecond)> Tree()
    {
        var watch = Stopwatch.StartNew();
        var events = await new MerkleRebuild(storage.Engine.Merkle).Rebuild(CancellationToken.None);
        return (events, events / watch.Elapsed.TotalSeconds);
    }

    /// <summary>Events a second of a whole verification.</summary>
    public async Task<(long Events, double PerSecond)> Verify()
    {
        var (state, _, seconds, _) = await Verify(LogVerifierState.Begin);
        return (state.Position, state.Position / seconds);
    }

    /// <summary>A verification from where another one ended.</summary>
    /// <returns>Where it ended, a state in the middle that another one can go on from, and the most mebibytes of managed memory that it held beside what was there.</returns>
    public async Task<(LogVerifierState State, LogVerifierState Middle, double Seconds, double Mebibytes)> Verify(LogVerifierState from)
    {
        await using var connection = new NpgsqlConnection(server);
        await connection.OpenAsync();
        var before = GC.GetTotalMemory(forceFullCollection: true);
        var (most, states) = (before, new List<LogVerifierState>());
        var verifier = new LogVerifier(connection, "cowork", Operators, OutsideKnowledge.None)
        {
            Progress = state =>
            {
                states.Add(state);
                most = Math.Max(most, GC.GetTotalMemory(forceFullCollection: false));
            },
        };
        var watch = Stopwatch.StartNew();
        var verdict = await verifier.Verify(from, CancellationToken.None);
        return verdict.Fault is { } fault
            ? throw new InvalidOperationException($"The log is not sound: {fault.Message}")
            : (verdict.State, states[states.Count / 2], watch.Elapsed.TotalSeconds, (most - before) / 1048576.0);
    }

    /// <summary>Rows a second of COPY to a client that throws them away.</summary>
    public async Task<double> Copy()
    {
        await using var connection = new NpgsqlConnection(server);
        await connection.OpenAsync();
        await using var count = new NpgsqlCommand("SELECT count(*) FROM cowork.mt_events", connection);
        var rows = (long)(await count.ExecuteScalarAsync())!;
        var watch = Stopwatch.StartNew();
        using (var copy = await connection.BeginTextExportAsync("COPY cowork.mt_events TO STDOUT"))
        {
            var buffer = new char[1 << 16];
            while (await copy.ReadAsync(buffer) > 0)
            {
            }
        }
        return rows / watch.Elapsed.TotalSeconds;
    }

    sealed class NoMemory : IHeadMemory
    {
        public SignedHead? Last => null;

        public string Place => "nowhere";

        public void Keep(SignedHead head)
        {
        }
    }
}
