using System.Text.Json;

namespace Cowork.Application;

/// <summary>The path of a call, as policy sees it and as a tool opens it: the same steps both times, so that they cannot differ.</summary>
static class PathArgument
{
    /// <summary>What a call on a path would touch.</summary>
    public static CallSubject Subject(ToolContext context, string kind, JsonElement input, string? otherwise)
    {
        var path = ToolInput.Text(input, "path", required: otherwise is null, out var error) ?? otherwise;
        if (error is not null || path is null)
        {
            return new(kind, Invalid: error);
        }
        using var granted = GrantedPath.Open(context.Workspace, path);
        return Subject(kind, granted);
    }

    /// <summary>
    /// Opens the path of a call that policy allowed, and judges what was opened once more: since the verdict a link may have been turned. Answers the
    /// error to tell the model, or null and the open path, which the caller closes.
    /// </summary>
    public static ToolOutcome? Open(ToolContext context, string kind, string tool, JsonElement input, string? otherwise, Policy policy, out GrantedPath.Found found)
    {
        found = null!;
        var path = ToolInput.Text(input, "path", required: otherwise is null, out var error) ?? otherwise;
        if (error is not null || path is null)
        {
            return ToolOutcome.Error(error!);
        }
        var granted = GrantedPath.Open(context.Workspace, path);
        if (policy.Judge(tool, Subject(kind, granted)) is { Outcome: Domain.PolicyOutcome.Deny } verdict)
        {
            granted.Dispose();
            return ToolOutcome.Error($"Refused by policy ({verdict.Rule}): {verdict.Reason}");
        }
        switch (granted)
        {
            case GrantedPath.Found opened:
                found = opened;
                return null;
            case GrantedPath.Missing missing:
                return ToolOutcome.Error($"{Quoted(path)}: {missing.Why}");
            default:
                granted.Dispose();
                return ToolOutcome.Error($"{Quoted(path)} cannot be opened.");
        }
    }

    static CallSubject Subject(string kind, GrantedPath granted) => granted switch
    {
        GrantedPath.Invalid invalid => new(kind, Invalid: invalid.Why),
        GrantedPath.Outside => new(kind, InsideGrants: false),
        GrantedPath.Missing missing => new(kind, missing.Relative),
        GrantedPath.Found found => new(kind, found.Relative),
        _ => throw new System.Diagnostics.UnreachableException(granted.GetType().Name),
    };

    static string Quoted(string path) => $"\"{FileText.Cut(path, 200)}\"";
}
