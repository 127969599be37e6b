using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// Deletes the scratchpads of a deleted conversation, some with each commit. It may be interrupted anywhere and repeated: no scratchpad begins in what is deleted, so
/// that each commit leaves fewer.
/// </summary>
public sealed class ScratchpadDeletion(ICommandExecutor commands, IScratchpadQueries queries) : IJobHandler
{
    /// <summary>The job's key is the session's.</summary>
    public const string JobKind = "scratchpad_deletion";

    /// <summary>Scratchpads of one commit.</summary>
    const int ScratchpadsMax = 20;

    static readonly Origin System = new("system");

    public string Kind => JobKind;

    public async Task<bool> Run(Claim claim, CancellationToken ct)
    {
        await Sweep(claim.Org, System, new SessionKey(claim.Key), ct, waitForStorage: true);
        return false;
    }

    /// <summary>Deletes the scratchpads of a deleted conversation.</summary>
    public Task Sweep(string org, Origin by, SessionKey session, CancellationToken ct, bool waitForStorage = false) =>
        Sweep(org, by, () => queries.All(org, session, ScratchpadsMax, ct), waitForStorage, ct);

    /// <summary>Deletes the replays of a scratchpad.</summary>
    public Task SweepReplays(string org, Origin by, SessionKey session, ScratchpadKey scratchpad, CancellationToken ct) =>
        Sweep(org, by, () => queries.Replays(org, session, scratchpad, ScratchpadsMax, ct), waitForStorage: false, ct);

    async Task Sweep(string org, Origin by, Func<ValueTask<IReadOnlyList<ScratchpadKey>>> find, bool waitForStorage, CancellationToken ct)
    {
        while (await find() is [_, ..] left)
        {
            if ((await commands.Execute(org, by, new DeleteScratchpads(left), ct, waitForStorage)).Refused is { Code: not "stream_busy" } refused)
            {
                throw new InvalidOperationException($"Scratchpads of what was deleted cannot be deleted: {refused.Code}.");
            }
        }
    }
}
