using Cowork.Domain;

namespace Cowork.Application;

/// <summary>The step of a run that finds what it is to know of earlier ones.</summary>
public sealed class MemoryStep(IRunQueries queries, SessionHistory history, IBlobs blobs)
{
    /// <summary>The memories that have to do with the message, as many as a run gets, and the session's turns before it.</summary>
    internal async ValueTask<RunCommand.RecordMemory> Recall(DrivenRun run, RunRequest request, CancellationToken ct)
    {
        var message = await blobs.Text(request.Message, ct);
        var past = await history.Before(run.Org, request.SessionId, request.RunId, ct);
        var items = new List<Recalled>();
        var chars = 0;
        foreach (var item in await queries.Recall(run.Org, message, Limits.MemoriesPerRunMax, past.Since, ct))
        {
            var text = await blobs.Text(item.Text, ct);
            if (chars + text.Length <= Limits.MemoryCharsMax)
            {
                chars += text.Length;
                items.Add(item);
            }
        }
        return new(run.Claim.Epoch, [.. items], past.Runs, default);
    }
}
