using System.Globalization;
using System.Text;
using System.Text.Json;

namespace Cowork.Application;

/// <summary><c>write_file {path, content}</c>: makes a text file, or gives it a whole new content.</summary>
public sealed class WriteFile(Policy policy, IBlobs blobs) : ITool
{
    /// <summary>Others may make and remove the file as fast as it is looked at.</summary>
    const int TriesMax = 3;

    public string Name => "write_file";

    public string Description =>
        "Writes a text file of the session's folder, the missing folders on its way too; a file that is there gets the new content. "
        + $"What is for the user goes below {OutputRoot.Path}.";

    public JsonElement Schema { get; } = ToolInput.Schema(
        """
        {"type":"object","required":["path","content"],"properties":{
          "path":{"type":"string","description":"The file, relative to the session's folder."},
          "content":{"type":"string","description":"The whole new content."}}}
        """);

    public CallSubject Subject(ToolContext context, JsonElement input)
    {
        var subject = PathArgument.Change(context, "create", input, "path");
        Content(input, out var error);
        return subject.Invalid is null && error is not null ? subject with { Invalid = error } : subject;
    }

    public async Task<ToolOutcome> Run(ToolContext context, JsonElement input, CancellationToken ct)
    {
        var content = Content(input, out var error);
        var path = ToolInput.Text(input, "path", required: true, out var wrong);
        if ((wrong ?? error) is { } why)
        {
            return ToolOutcome.Error(why);
        }
        var bytes = Encoding.UTF8.GetBytes(content!);
        if (context.Attempt > 1 && IsWritten(context, path!, bytes) is { } relative)
        {
            return await Done(relative, bytes, ct);
        }
        // Judged before any folder is made, and again on what is then open.
        if (policy.Again(Name, Subject(context, input), context.Granted) is { } refused)
        {
            return refused;
        }
        for (var tries = 1; ; tries++)
        {
            var (entry, outcome) = PathArgument.OpenEntry(context, Name, path!, make: true, policy, e => PathArgument.Change("create", e));
            using (entry)
            {
                if (entry is null)
                {
                    return outcome!;
                }
                // What may fail or be cancelled comes before the effect, so that no effect goes unrecorded.
                var done = await Done(entry.Relative, bytes, ct);
                var failed = entry.Write(bytes, context.IdempotencyToken);
                if (failed is null)
                {
                    return done;
                }
                // Another session of the folder made the file meanwhile: whether it may be overwritten is for the policy to say.
                if (failed != GrantedEntry.Appeared || tries == TriesMax)
                {
                    return ToolOutcome.Error($"{entry.Relative} was not written. {failed}");
                }
            }
        }
    }

    async Task<ToolOutcome> Done(string relative, byte[] bytes, CancellationToken ct)
    {
        var outcome = ToolOutcome.Ok(string.Create(CultureInfo.InvariantCulture, $"Wrote {relative} ({bytes.Length} bytes)."));
        return OutputRoot.Holds(relative) ? outcome with { Wrote = [new(relative, await blobs.Put(bytes, ct), bytes.Length)] } : outcome;
    }

    /// <summary>Where the file lies when it has this very content: an earlier attempt was here.</summary>
    static string? IsWritten(ToolContext context, string path, byte[] bytes)
    {
        var (entry, _) = GrantedEntry.Open(context.Workspace, path, make: false);
        using (entry)
        {
            if (entry is not { Exists: true, IsDirectory: false, IsLink: false, Untouchable: null })
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
                var there = new byte[bytes.Length];
                file.ReadExactly(there);
                return there.AsSpan().SequenceEqual(bytes) ? entry.Relative : null;
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                return null;
            }
        }
    }

    static string? Content(JsonElement input, out string? error) => ToolInput.Text(input, "content", required: true, out error, blank: true);
}
