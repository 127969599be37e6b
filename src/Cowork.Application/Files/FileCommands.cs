using Cowork.Application.Storage;
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
        if (Upload.SessionId is { } session)
        {
            if (await work.PinnedState(Session.Aggregate, session) is not Session.Open open)
            {
                return Refusal.NotFound("conversation");
            }
            if (await SessionOfGroup.WhyRefused(work, open, "conversation") is { } ofGroup)
            {
                return ofGroup;
            }
        }
        if (await work.Do(UploadedFile.Aggregate, File, new UploadedFileCommand.Upload(File, Upload, work.Now), Upload.SessionId, isNew: true) is { } refused)
        {
            return refused;
        }
        work.Start(new Job(FileExtraction.JobKind, File.Value));
        return null;
    }
}

/// <summary>Deletes a file. A job removes its text from the index; no search shows it from this commit on.</summary>
public sealed record DeleteUploadedFile(FileKey File) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        var session = (await work.State(UploadedFile.Aggregate, File)).Upload?.SessionId;
        if (await work.Do(UploadedFile.Aggregate, File, new UploadedFileCommand.Delete(work.Now), session) is { } refused)
        {
            return refused;
        }
        work.Start(new Job(FileDeletion.JobKind, FileDeletion.KeyOf(File)));
        return null;
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

/// <summary>Records the result of a file's extraction, and finishes its job. No-op for a file that was deleted meanwhile.</summary>
/// <param name="TextSha256">Hex SHA-256 of the text in the blob store; null: the document has none.</param>
public sealed record RecordExtraction(FileKey File, DocumentText Document, string? TextSha256, Claim Claim) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        work.Finish(Claim);
        if ((await work.State(UploadedFile.Aggregate, File)).Upload is not { } upload)
        {
            return null;
        }
        UploadedFileCommand record = Document switch
        {
            DocumentText.Extracted text => new UploadedFileCommand.RecordText(text.MediaType, TextSha256!, text.Utf8.Length, text.IsCut, work.Now),
            DocumentText.Failed failed => new UploadedFileCommand.RecordFailure(failed.MediaType, failed.Code, failed.Detail, work.Now),
            _ => throw new System.Diagnostics.UnreachableException(Document.GetType().Name),
        };
        return await work.Do(UploadedFile.Aggregate, File, record, upload.SessionId);
    }
}
