using System.Text.Json;

namespace Cowork.Application;

/// <summary><c>move_file {from, to}</c>: moves one file to a name that must be free.</summary>
public sealed class MoveFile(Policy policy, IBlobs blobs, RunFiles uploads) : ITool
{
    public string Name => "move_file";

    public string Description => "Moves or renames one file of the session's folder, making the folders that are missing; it never replaces a file.";

    public JsonElement Schema { get; } = ToolInput.Schema(
        """
        {"type":"object","required":["from","to"],"properties":{
          "from":{"type":"string","description":"The file, relative to the session's folder, or absolute in another granted one."},
          "to":{"type":"string","description":"Its new name and place, relative to the session's folder, or absolute in another granted one."}}}
        """);

    public ValueTask<CallSubject> Subject(ToolContext context, JsonElement input, CancellationToken ct) => new(SubjectOf(context, input));

    static CallSubject SubjectOf(ToolContext context, JsonElement input)
    {
        var from = PathArgument.ChangeSubject(context, "move", input, "from");
        // The policy judges the new name like a new file.
        var to = PathArgument.ChangeSubject(context, "create", input, "to");
        return MoveSubject(from, to);
    }

    public async Task<ToolOutcome> Run(ToolContext context, JsonElement input, CancellationToken ct)
    {
        var from = ToolInput.Text(input, "from", required: true, out var fromError);
        var to = ToolInput.Text(input, "to", required: true, out var toError);
        if ((fromError ?? toError) is { } invalid)
        {
            return ToolOutcome.Error(invalid);
        }
        if (await uploads.ReadOnlyAt(context, to!, ct) is { } uploaded)
        {
            return uploaded;
        }
        if (context.Attempt > 1 && await WasMoved(context, from!, to!, ct) is { } moved)
        {
            return moved;
        }
        if (policy.Reevaluate(Name, SubjectOf(context, input), context.Granted) is { } refused)
        {
            return refused;
        }
        var (source, why) = GrantedEntry.Open(context.Grants, from!, makeFolders: false);
        using (source)
        {
            if (source is null)
            {
                return ToolOutcome.Error(why!);
            }
            var (target, error) = PathArgument.OpenEntry(
                context, Name, to!, makeFolders: true, policy, e => MoveSubject(PathArgument.ChangeSubject("move", source), PathArgument.ChangeSubject("create", e)));
            using (target)
            {
                if (target is null)
                {
                    return error!;
                }
                // Steps that may fail or be cancelled come before the move, so that a completed move is always recorded.
                var outcome = await Succeeded(context, source, target, source, ct);
                return source.MoveTo(target) is { } failed ? ToolOutcome.Error($"{source.Shown} was not moved. {failed}") : outcome;
            }
        }
    }

    static CallSubject MoveSubject(CallSubject from, CallSubject to) => new("move", from.Path, from.InsideGrants && to.InsideGrants)
    {
        Target = to.Path,
        NotGranted = from.NotGranted ?? to.NotGranted,
        Invalid = from.Invalid ?? to.Invalid ?? (to.Kind == "overwrite" ? $"{VisibleText.Of(to.Path!.Name)} is there already." : null),
    };

    /// <param name="moved">The one of the two that has the file.</param>
    async Task<ToolOutcome> Succeeded(ToolContext context, GrantedEntry from, GrantedEntry to, GrantedEntry moved, CancellationToken ct)
    {
        var outcome = ToolOutcome.Ok($"Moved {from.Shown} to {to.Shown}.");
        if (!TouchedPath.Of(to).IsKept)
        {
            return outcome;
        }
        await using var content = moved.OpenRead();
        var (sha256, bytes) = await blobs.For(context.Org, context.Subject).Put(content, ct);
        return outcome with { WrittenFiles = [new(to.Name, sha256, bytes)] };
    }

    /// <summary>The outcome of an earlier attempt that moved the file: the old name is free and the new one has a file. Null: there was none.</summary>
    async Task<ToolOutcome?> WasMoved(ToolContext context, string from, string to, CancellationToken ct)
    {
        var (source, _) = GrantedEntry.Open(context.Grants, from, makeFolders: false);
        var (target, _) = GrantedEntry.Open(context.Grants, to, makeFolders: false);
        using (source)
        using (target)
        {
            return source is { Exists: false } && target is { Exists: true, IsDirectory: false, IsLink: false, WhyProtected: null }
                ? await Succeeded(context, source, target, target, ct)
                : null;
        }
    }
}
