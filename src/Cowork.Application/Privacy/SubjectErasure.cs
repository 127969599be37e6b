using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>
/// Removes copies of what an erased subject's key opened: folds the rows of each of its streams anew, and removes their snapshots, index entries and archives. Each step may
/// be done twice, so that a job that was interrupted begins anew.
/// </summary>
public sealed class SubjectErasure(
    CommandHandler handler, ICommandExecutor commands, SubjectKeyring keys, ITexts texts, IEventLog log, IArchives archives, IAsyncProjectionStore projections,
    IReadOnlyList<IAsyncProjection> models) : IJobHandler
{
    public const string JobKind = "subject_erasure";

    const int StreamsPage = 200;

    static readonly Origin By = new("system");

    public string Kind => JobKind;

    public async Task<bool> Run(Claim claim, CancellationToken ct)
    {
        await Remove(claim.Org, new DigestKey(claim.Key), ct);
        return false;
    }

    /// <summary>
    /// Removes all copies, and notes that they are gone. No-op: the subject was not erased. Archives are last, because they may lie where this program cannot reach them.
    /// </summary>
    public async Task Remove(string org, DigestKey key, CancellationToken ct)
    {
        if (await handler.LatestState(org, DataSubject.Aggregate, key, ct) is not DataSubject.Erased { Subject: var subject })
        {
            return;
        }
        await keys.Refresh(org, ct);
        var (streams, archived) = (0L, new List<string>());
        for (var after = ""; ;)
        {
            var page = await keys.Store.Streams(org, subject, after, StreamsPage, ct);
            foreach (var stream in page)
            {
                await keys.Store.Refold(org, stream, ct);
                foreach (var model in models.Where(model => model.Searched))
                {
                    await Refold(org, stream, model, ct);
                }
                await RemoveTexts(org, stream, ct);
                if (await ArchiveOf(org, stream, key, ct) is { } path)
                {
                    archived.Add(path);
                }
                streams++;
            }
            if (page.Count < StreamsPage)
            {
                break;
            }
            after = page[^1];
        }
        foreach (var path in archived)
        {
            await archives.DeleteArchive(path, ct);
        }
        var blobs = (await keys.Store.Blobs(org, subject, "", int.MaxValue, ct)).Count;
        await keys.Store.Complete(org, subject, ct);
        await keys.Refresh(org, ct);
        await commands.Execute(org, By, new CompleteErasure(key, streams, blobs), ct, waitForStorage: true);
    }

    /// <summary>Folds the rows that a stream's words went into anew, up to where their model has come.</summary>
    async ValueTask Refold(string org, string stream, IAsyncProjection model, CancellationToken ct)
    {
        while (true)
        {
            var at = (await projections.Progress(ct)).Of(model.Table).Checkpoint;
            var events = (await log.Load(org, stream, 0, int.MaxValue, ct)).Events.Where(e => e.Position <= at.Position && model.Types.Contains(e.Type)).ToList();
            var rows = await ProjectedRow.Fold(
                model, events,
                async keys => await projections.Load(model.Table, [.. keys.Where(key => model.StreamOf(key.Key) != stream)], ct));
            IReadOnlyList<ProjectedRow> own = [.. rows.Where(row => model.StreamOf(row.Key.Key) == stream)];
            if (own.Count == 0 || await projections.Advance(model.Table, at, at.Position, own, ct) is not null)
            {
                return;
            }
        }
    }

    async ValueTask RemoveTexts(string org, string stream, CancellationToken ct)
    {
        if (stream.StartsWith("file-", StringComparison.Ordinal))
        {
            await texts.Remove(org, TextKey.OfFile(new FileKey(stream["file-".Length..])), null, ct);
        }
        if (stream.StartsWith("session-", StringComparison.Ordinal))
        {
            await texts.Remove(org, TextKey.OfSession(new SessionKey(stream["session-".Length..])), null, ct);
            if ((await log.Load(org, stream, 0, 1, ct)).Events is [{ Event: SessionEvent.SessionCreated begun }, ..])
            {
                // What clients keep indexed of its folders. Of what is still there, and of a folder that others are granted too, the next request for it indexes it again.
                foreach (var path in begun.Grants?.Select(grant => grant.Path) ?? [begun.WorkspacePath])
                {
                    await texts.Remove(org, TextKey.OfGrant(path), null, ct);
                }
            }
        }
    }

    /// <summary>The archive of a group that was written before the erasure and has the texts; null: none was. One that was written later, or is being written, has none.</summary>
    async ValueTask<string?> ArchiveOf(string org, string stream, DigestKey subject, CancellationToken ct) =>
        stream.StartsWith("group-", StringComparison.Ordinal)
            && (await log.Load(org, stream, 0, int.MaxValue, ct)).Events.LastOrDefault(e => e.Event is GroupEvent.GroupArchived) is { } archived
            && (await log.Load(org, DataSubject.Aggregate.Stream(subject), 0, int.MaxValue, ct)).Events.Last(e => e.Event is DataSubjectEvent.SubjectErased) is var erased
            && archived.Position < erased.Position
                ? ((GroupEvent.GroupArchived)archived.Event).Path
                : null;
}
