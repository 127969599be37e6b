using System.Collections.Immutable;
using System.Diagnostics;
using System.Text;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>The step of a run that retrieves memories and the earlier turns of its session.</summary>
/// <param name="node">Id of this node.</param>
public sealed class MemoryStep(CommandHandler commands, IRunQueries queries, SessionHistory history, IBlobs blobs, RecordedSettings settings, string node)
{
    /// <summary>What is needed to accept and start a run in one commit; null: an earlier run of the session has not ended.</summary>
    internal async ValueTask<RunStart?> Ahead(string org, SessionKey session, string message, JobAdmission room, CancellationToken ct)
    {
        if (await history.Idle(org, session, ct) is not var (version, past))
        {
            return null;
        }
        // The client may know of another node's memories already. A node that seems to be alone has the commit refused if it was not.
        long? knows = room.IsAlone ? queries.KnownThrough : null;
        var items = await Items(org, session, message, room.IsAlone ? past.Since : long.MaxValue, ct);
        return new(room.Epoch, node, version, items, past.Runs, knows, await settings.Digest(ct));
    }

    /// <summary>
    /// The memories that match the message, at most <see cref="Limits.MemoriesPerRunMax"/>, and the earlier turns of the session. For an agent of a group, in place of the
    /// turns, what was said in the group until now.
    /// </summary>
    internal async ValueTask<RunCommand.RecordMemory> Retrieve(DrivenRun run, RunRequest request, CancellationToken ct)
    {
        var message = await blobs.Text(request.Message, ct);
        if (request.Transcript is not null)
        {
            return new(run.Claim.Epoch, await Items(run.Org, request.SessionId, message, long.MaxValue, ct), [], default);
        }
        if (request.Agent is { } agent)
        {
            // As the log has it: another host may have ended the run whose answer this one is to see.
            var group = await commands.LatestState(run.Org, Group.Aggregate, new(request.SessionId.Value), ct) as Group.Live;
            return new(
                run.Claim.Epoch, await Items(run.Org, request.SessionId, message, long.MaxValue, ct), [], default,
                await Fitting(run.Org, group?.Before(request.RunId, agent.Id) ?? [], ct));
        }
        var past = await history.Before(run.Org, request.SessionId, request.RunId, ct);
        return new(run.Claim.Epoch, await Items(run.Org, request.SessionId, message, past.Since, ct), past.Runs, default);
    }

    /// <summary>The last of what was said in a group that is not longer together than <see cref="Limits.GroupHistoryBytesMax"/>.</summary>
    async ValueTask<ImmutableList<GroupEntry>> Fitting(string org, ImmutableList<GroupEntry> said, CancellationToken ct)
    {
        var texts = await queries.Said(org, said, ct);
        var (first, bytes) = (said.Count, 0L);
        while (first > 0 && (bytes += texts[first - 1] is { } text ? BytesOf(text) : 0) <= Limits.GroupHistoryBytesMax)
        {
            first--;
        }
        return said.RemoveRange(0, first);
    }

    static long BytesOf(Content text) => text switch
    {
        Content.Blob blob => blob.Bytes,
        Content.Inline inline => Encoding.UTF8.GetByteCount(inline.Text),
        Content.Sealed secret => secret.Ciphertext.Length,
        _ => throw new UnreachableException(text.GetType().Name),
    };

    async ValueTask<ImmutableList<RetrievedMemory>> Items(string org, SessionKey session, string message, long since, CancellationToken ct)
    {
        var items = ImmutableList.CreateBuilder<RetrievedMemory>();
        var chars = 0;
        var project = await queries.ProjectOf(org, session, ct);
        foreach (var item in await queries.Recall(org, project, message, Limits.MemoriesPerRunMax, since, ct))
        {
            var text = await blobs.Text(item.Text, ct);
            if (chars + text.Length <= Limits.MemoryCharsMax)
            {
                chars += text.Length;
                items.Add(item);
            }
        }
        return items.ToImmutable();
    }
}
