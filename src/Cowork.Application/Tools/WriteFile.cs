using System.Globalization;
using System.Text;
using System.Text.Json;

namespace Cowork.Application;

/// <summary><c>write_file {path, content}</c>: creates or overwrites a text file.</summary>
public sealed class WriteFile(Policy policy, IBlobs blobs, RunFiles uploads) : ITool
{
    /// <summary>Other programs may create and delete the file between a look and the write.</summary>
    const int AttemptsMax = 3;

    public string Name => "write_file";

    public string Description =>
        "Writes a text file of the session's folder, the missing folders on its way too; a file that is there gets the new content. "
        + $"What is for the user goes below {OutputRoot.Path}.";

    public JsonElement Schema { get; } = ToolInput.Schema(
        """
        {"type":"object","required":["path","content"],"properties":{
          "path":{"type":"string","description":"The file, relative to the session's folder, or absolute in another granted one."},
          "content":{"type":"string","description":"The whole new content."}}}
        """);

    public ValueTask<CallSubject> Subject(ToolContext context, JsonElement input, CancellationToken ct) => new(SubjectOf(context, input));

    static CallSubject SubjectOf(ToolContext context, JsonElement input)
    {
        var subject = PathArgument.ChangeSubject(context, "create", input, "path");
        Content(input, out var error);
        return subject.Invalid is null && error is not null ? subject with { Invalid = error } : subject;
    }

    public async Task<ToolOutcome> Run(ToolContext context, JsonElement input, CancellationToken ct)
    {
        var content = Content(input, out var error);
        var path = ToolInput.Text(input, "path", required: true, out var pathError);
        if ((pathError ?? error) is { } invalid)
        {
            return ToolOutcome.Error(invalid);
        }
        if (await uploads.ReadOnlyAt(context, path!, ct) is { } uploaded)
        {
            return uploaded;
        }
        var bytes = Encoding.UTF8.GetBytes(content!);
        if (context.Attempt > 1 && IsWritten(context, path!, bytes) is { } written)
        {
            return await Succeeded(context, written, bytes, ct);
        }
        // The policy judges the call before folders are created, and again when the entry is open.
        var subject = SubjectOf(context, input);
        if (policy.Reevaluate(Name, subject, context.Granted) is { } refused)
        {
            return refused;
        }
        for (var attempt = 1; ; attempt++)
        {
            var (entry, outcome) = PathArgument.OpenEntry(context, Name, path!, makeFolders: subject.Kind == "create", policy, e => PathArgument.ChangeSubject("create", e));
            using (entry)
            {
                if (entry is null)
                {
                    return outcome!;
                }
                // Steps that may fail or be cancelled come before the write, so that a completed write is always recorded.
                var success = await Succeeded(context, TouchedPath.Of(entry), bytes, ct);
                var failed = entry.Write(bytes, context.IdempotencyToken);
                if (failed is null)
                {
                    return success;
                }
                // Another session of the folder has created the file: the policy decides whether the call may overwrite it.
                if (failed != GrantedEntry.NameTaken || attempt == AttemptsMax)
                {
                    return ToolOutcome.Error($"{entry.Shown} was not written. {failed}");
                }
            }
        }
    }

    async Task<ToolOutcome> Succeeded(ToolContext context, TouchedPath file, byte[] bytes, CancellationToken ct)
    {
        var outcome = ToolOutcome.Ok(string.Create(CultureInfo.InvariantCulture, $"Wrote {VisibleText.Of(file.Name)} ({bytes.Length} bytes)."));
        return file.IsKept ? outcome with { WrittenFiles = [new(file.Name, await blobs.For(context.Org, context.Subject).Put(bytes, ct), bytes.Length)] } : outcome;
    }

    /// <summary>The path of a file with this content, which an earlier attempt wrote; null: there is none.</summary>
    static TouchedPath? IsWritten(ToolContext context, string path, byte[] bytes)
    {
        var (entry, _) = GrantedEntry.Open(context.Grants, path, makeFolders: false);
        using (entry)
        {
            if (entry is not { Exists: true, IsDirectory: false, IsLink: false, WhyProtected: null })
            {
                return null;
            }
            try
            {
                using var file = entry.OpenRead();
                if (file.Length != bytes.Length)
                {
                    return null;
                }
                var existing = new byte[bytes.Length];
                file.ReadExactly(existing);
                return existing.AsSpan().SequenceEqual(bytes) ? TouchedPath.Of(entry) : null;
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                return null;
            }
        }
    }

    static string? Content(JsonElement input, out string? error) => ToolInput.Text(input, "content", required: true, out error, allowBlank: true);
}
