using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Makes a file of what the blob store has. Refused: there is no such project or conversation.</summary>
/// <param name="Header">The idempotency key that the same commit claims.</param>
public sealed record UploadFile(FileKey File, FileUpload Upload, RequestKey? Header = null) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var refused = await Apply(work);
        return Header is null ? refused : await Header.Claim(work, UploadedFile.Aggregate, File) ?? refused;
    }

    async ValueTask<Refusal?> Apply(UnitOfWork work)
    {
        // Pinned: no file begins in a project or a conversation that is deleted at the same time.
        if (Upload.ProjectId is { } project && await work.PinnedState(Project.Aggregate, project) is not Project.Live)
        {
            return Refusal.NotFound("project");
        }
        if (Upload.SessionId is { } session && await work.PinnedState(Session.Aggregate, session) is not Session.Open)
        {
            return Refusal.NotFound("conversation");
        }
        return await work.Do(UploadedFile.Aggregate, File, new UploadedFileCommand.Upload(File, Upload, work.Now), Upload.SessionId, isNew: true);
    }
}

/// <summary>Deletes a file.</summary>
public sealed record DeleteUploadedFile(FileKey File) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var session = (await work.State(UploadedFile.Aggregate, File)).Upload?.SessionId;
        return await work.Do(UploadedFile.Aggregate, File, new UploadedFileCommand.Delete(work.Now), session);
    }
}

/// <summary>Deletes files with one commit. Those that were deleted before are passed over.</summary>
public sealed record DeleteUploadedFiles(IReadOnlyList<FileKey> Files) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        foreach (var file in Files)
        {
            if ((await work.State(UploadedFile.Aggregate, file)).Upload is { } upload
                && await work.Do(UploadedFile.Aggregate, file, new UploadedFileCommand.Delete(work.Now), upload.SessionId) is { } refused)
            {
                return refused;
            }
        }
        return null;
    }
}
