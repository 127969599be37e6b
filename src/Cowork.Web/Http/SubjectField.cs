using Cowork.Application;
using Cowork.Domain;

namespace Cowork.Web.Http;

/// <summary>The member that names the data subject of what a request makes.</summary>
static class SubjectField
{
    public static void Validate(string? subject, ValidationErrors errors)
    {
        if (subject is not null && WhyNot(subject) is { } why)
        {
            errors.Add("$.subject", why);
        }
    }

    /// <summary>Why a text names no subject; null: it does.</summary>
    public static string? WhyNot(string subject) =>
        string.IsNullOrWhiteSpace(subject) || subject.Length > Subjects.NameMax || subject.Any(char.IsControl) || !StorableText.IsStorable(subject)
            ? $"A subject has 1 to {Subjects.NameMax} characters, none of which is a control character, and is not blank."
            : null;
}
