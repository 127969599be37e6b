using System.Text.Json;

namespace Cowork.Application;

/// <summary>Resolves the path of a call for the policy and opens it for the tool, by the same steps, so that both see the same file.</summary>
static class PathArgument
{
    /// <summary>The subject of a call with a path.</summary>
    /// <param name="defaultPath">The path of a call without one; null: the path is required.</param>
    public static CallSubject SubjectOf(ToolContext context, string kind, JsonElement input, string? defaultPath)
    {
        var path = ToolInput.Text(input, "path", required: defaultPath is null, out var error) ?? defaultPath;
        if (error is not null || path is null)
        {
            return new(kind, Invalid: error);
        }
        using var granted = GrantedPath.Open(context.Grants, path);
        return SubjectOf(kind, granted);
    }

    /// <summary>
    /// Opens the path of an allowed call and lets the policy judge the opened file again, because a link may have changed since. Answers the error for the
    /// model, or null and the open path, which the caller closes.
    /// </summary>
    public static ToolOutcome? Open(ToolContext context, string kind, string tool, JsonElement input, string? defaultPath, Policy policy, out GrantedPath.Found found)
    {
        found = null!;
        var path = ToolInput.Text(input, "path", required: defaultPath is null, out var error) ?? defaultPath;
        if (error is not null || path is null)
        {
            return ToolOutcome.Error(error!);
        }
        var granted = GrantedPath.Open(context.Grants, path);
        if (policy.Reevaluate(tool, SubjectOf(kind, granted), context.Granted) is { } refused)
        {
            granted.Dispose();
            return refused;
        }
        switch (granted)
        {
            case GrantedPath.Found opened:
                found = opened;
                return null;
            case GrantedPath.Missing missing:
                return ToolOutcome.Error($"{Quoted(path)}: {missing.Reason}");
            default:
                granted.Dispose();
                return ToolOutcome.Error($"{Quoted(path)} cannot be opened.");
        }
    }

    static CallSubject SubjectOf(string kind, GrantedPath granted) => granted switch
    {
        GrantedPath.Invalid invalid => new(kind, Invalid: invalid.Reason),
        GrantedPath.Outside => new(kind, InsideGrants: false),
        GrantedPath.Missing missing => new(kind, TouchedPath.Of(missing)) { NotGranted = missing.Grant.WhyNotGranted(kind) },
        GrantedPath.Found found => new(kind, TouchedPath.Of(found)) { NotGranted = found.Grant.WhyNotGranted(kind) },
        _ => throw new System.Diagnostics.UnreachableException(granted.GetType().Name),
    };

    /// <summary>
    /// The subject of a call that changes a file. An impossible change (of a link, a folder, a file with several names) is invalid, so that nobody has to
    /// approve it.
    /// </summary>
    /// <param name="kind"><c>create</c>, which becomes <c>overwrite</c> if the file exists; <c>delete</c> or <c>move</c>: the file must exist.</param>
    /// <param name="argument">Name of the path argument.</param>
    public static CallSubject ChangeSubject(ToolContext context, string kind, JsonElement input, string argument)
    {
        var path = ToolInput.Text(input, argument, required: true, out var error);
        if (error is not null)
        {
            return new(kind, Invalid: error);
        }
        using var granted = GrantedPath.Open(context.Grants, path!);
        var resolved = SubjectOf(kind, granted);
        if (resolved is { Invalid: not null } or { InsideGrants: false })
        {
            return resolved;
        }
        var (entry, why) = GrantedEntry.Open(context.Grants, path!, makeFolders: false);
        using (entry)
        {
            // A write may create missing folders.
            return entry is not null ? ChangeSubject(kind, entry)
                : kind == "create" && why == GrantedEntry.NotFound ? resolved
                : resolved with { Invalid = $"{Quoted(path!)}: {why}{NoteOnUploads(resolved.Path?.Name)}" };
        }
    }

    /// <summary>The subject of a change of an open entry.</summary>
    public static CallSubject ChangeSubject(string kind, GrantedEntry entry)
    {
        var does = kind == "create" && entry.Exists ? "overwrite" : kind;
        var subject = new CallSubject(does, TouchedPath.Of(entry)) { NotGranted = entry.Grant.WhyNotGranted(does) };
        var invalid = entry.IsLink ? $"{entry.Shown} is a link; name what it leads to."
            : entry.IsDirectory ? $"{entry.Shown} is a folder."
            : entry.WhyProtected is { } why ? $"{entry.Shown}: {why}"
            : !entry.Exists && kind != "create" ? $"There is no file {entry.Shown}.{NoteOnUploads(entry.Name)}"
            : null;
        return subject with { Invalid = invalid };
    }

    /// <summary>Opens the entry of an allowed or approved call and lets the policy judge it again. Answers the entry, or the error for the model.</summary>
    /// <param name="subject">Makes the call's subject from the entry.</param>
    public static (GrantedEntry? Entry, ToolOutcome? Error) OpenEntry(
        ToolContext context, string tool, string path, bool makeFolders, Policy policy, Func<GrantedEntry, CallSubject> subject)
    {
        var (entry, why) = GrantedEntry.Open(context.Grants, path, makeFolders);
        if (entry is null)
        {
            return (null, ToolOutcome.Error($"{Quoted(path)}: {why}"));
        }
        if (policy.Reevaluate(tool, subject(entry), context.Granted) is { } refused)
        {
            entry.Dispose();
            return (null, refused);
        }
        return (entry, null);
    }

    /// <summary>Where uploaded files seem to lie, there is nothing that a call could change.</summary>
    static string NoteOnUploads(string? name) => name?.StartsWith(RunFiles.Folder + "/", StringComparison.Ordinal) == true
        ? " What was uploaded is read, and not changed, moved or deleted."
        : "";

    static string Quoted(string path) => $"\"{VisibleText.Of(FileText.Truncate(path, 200))}\"";
}
