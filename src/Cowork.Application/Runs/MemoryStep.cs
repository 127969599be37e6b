using Cowork.Domain;

namespace Cowork.Application;

/// <summary>The step of a run that retrieves memories and the earlier turns of its session.</summary>
public sealed class MemoryStep(IRunQueries queries, SessionHistory history, IBlobs blobs)
{
    /// <summary>The memories that match the message, at most <see cref="Limits.MemoriesPerRunMax"/>, and the earlier turns of the session.</summary>
    internal async ValueTask<RunCommand.RecordMemory> Retrieve(DrivenRun run, RunRequest request, CancellationToken ct)
    {
        var message = await blobs.Text(request.Message, ct);
        var past = await history.Before(run.Org, request.SessionId, request.RunId, ct);
        var items = new List<RetrievedMemory>();
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
