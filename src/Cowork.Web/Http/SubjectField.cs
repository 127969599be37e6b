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

    /// <summary>Why a text names no subject; null: it does. A name is a part of an address, which ends at a slash, and in which dots alone mean another place.</summary>
    public static string? WhyNot(string subject) =>
        string.IsNullOrWhiteSpace(subject) || subject.Length > Subjects.NameMax || subject.Any(c => char.IsControl(c) || c is '/' or '\\') || subject is "." or ".."
            || !StorableText.IsStorable(subject)
            ? $"A subject has 1 to {Subjects.NameMax} characters, is not blank, is neither . nor .., and has no slash, backslash or control character."
            : null;
}
